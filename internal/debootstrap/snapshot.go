package debootstrap

import (
	"fmt"
	"time"
)

// snapshotURL is the snapshot service's mirror of a pocket as of a time, "" if there is no service.
func (r Request) snapshotURL(pocket string, at time.Time) string {
	pattern := r.Snapshot
	if pattern == "" {
		pattern = r.Suite.Snapshot
	}
	p, _ := r.Suite.Pocket(pocket)
	return r.Suite.SnapshotURL(pattern, p, r.Arch, at)
}

// checkAt says why At cannot be meant.
func (r Request) checkAt() error {
	switch {
	case r.At.IsZero():
		return nil
	case len(r.Mirrors) > 0 || r.OnlyThese:
		return &UsageError{What: "the past of an archive is read from its snapshot service, not from a mirror", Next: "drop --at, or --mirror and --only-mirror"}
	case r.CheckUpdates:
		return &UsageError{What: "security updates are looked for as of now", Next: "drop --at or --check-updates"}
	case r.snapshotURL("release", r.At) == "":
		return &UsageError{What: fmt.Sprintf("no snapshot service is known for %s", r.Suite.Codename),
			Next: fmt.Sprintf("name one in config.toml: under [snapshots], %s = \"https://HOST/.../{archive}/{time}\" (docs/lock.md)", r.Suite.Family)}
	}
	return nil
}
