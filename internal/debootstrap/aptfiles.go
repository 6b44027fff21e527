package debootstrap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

// files are what a build writes into the root beside the packages: sources.list, and what apt needs to
// take an archive that changes no more. Of a suite that is not archived they depend on no date and no key.
func (r Request) files(c closure, releases []LockRelease) []LockFile {
	options, why := r.archivedOptions(releases)
	var b strings.Builder
	b.WriteString(why)
	for _, l := range r.sourceLines() {
		fmt.Fprintf(&b, "deb %s%s %s %s\n", options, l.base, l.suite, strings.Join(r.Components, " "))
	}
	files := []LockFile{{Path: "/etc/apt/sources.list", Mode: 0o644, Content: b.String()}}
	if r.Suite.Archived && aptBefore(c, "1.1") {
		files = append(files, LockFile{Path: "/etc/apt/apt.conf.d/90archived", Mode: 0o644, Content: fmt.Sprintf(
			"// %s is archived: its Release files may be past their Valid-Until. Before 1.1, apt has no\n"+
				"// check-valid-until in sources.list.\nAcquire::Check-Valid-Until \"false\";\n", r.Suite.Codename)})
	}
	return files
}

// archivedOptions are what a line of an archived suite's sources.list says between brackets, and the comment
// that explains it. trusted=yes is the least that lets apt (tried: 1.0.1, 1.2, 1.6) install from an archive
// whose keys have expired: with allow-insecure=yes, or Acquire::AllowInsecureRepositories, it still
// refuses the packages as unauthenticated.
func (r Request) archivedOptions(releases []LockRelease) (options, why string) {
	if !r.Suite.Archived {
		return "", ""
	}
	why = fmt.Sprintf("# %s is archived: its Release files may be past their Valid-Until (check-valid-until=no).\n", r.Suite.Codename)
	if !keysExpired(releases) {
		return "[check-valid-until=no] ", why
	}
	return "[check-valid-until=no trusted=yes] ", why +
		"# The keys that signed them have expired since, which apt does not accept: with trusted=yes it checks no\n" +
		"# signature. rootctl checked them, as of the time of signing, when it made this root.\n"
}

// keysExpired says whether a Release has good signatures by keys that have expired since, and no other.
func keysExpired(releases []LockRelease) bool {
	return slices.ContainsFunc(releases, func(l LockRelease) bool { return l.KeysExpired })
}

// aptBefore says whether the root has an apt older than v.
func aptBefore(c closure, v string) bool {
	return slices.ContainsFunc(c.Packages, func(p LockPackage) bool {
		older, err := version.Satisfies(p.Version, "<<", v)
		return p.Name == "apt" && err == nil && older
	})
}
