package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/dpkg"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// finish makes the root a function of the lock: what a second build would make
// differently goes, and times are clamped.
func (in *installer) finish(ctx context.Context) (*Installed, error) {
	in.event(StageClean, "", 0, 0)
	epoch, auto, err := in.lock.epoch()
	if err != nil {
		return nil, err
	}
	if auto {
		epoch = in.newest
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"remove what differs between builds", in.removeLitter},
		{"sort what insserv wrote", in.sortDepends},
		{"clear machine identity", in.clearIdentity},
		{"set dates in shadow", func() error { return in.datePasswords(epoch) }},
		{"write files", in.writeFiles},
	}
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := s.do(); err != nil {
			return nil, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	devices, err := in.devices(epoch)
	if err != nil {
		return nil, err
	}
	if err := in.t.ClampTimes(epoch, in.began); err != nil {
		return nil, fmt.Errorf("clamp times: %w", err)
	}
	in.event(StageClean, "", 1, 1)
	return &Installed{Epoch: epoch, Devices: devices, Newest: in.newest}, nil
}

// litter is what two builds of one Lock make differently, and no one misses:
// logs, caches and the previous version of databases. The last part may hold
// wildcards of path.Match.
func litter() []string {
	return []string{
		"/etc/console-setup/cached*",
		"/etc/cron.d/popularity-contest", // runs at a random minute
		"/etc/popularity-contest.conf",   // a random name for the host, which every copy would share
		"/etc/ssh/ssh_host_*_key*",       // a secret that every copy would share; ssh-keygen -A makes them
		"/var/cache/apt/*.bin",
		"/var/cache/apt/archives/*.deb",
		"/var/cache/debconf/*-old",
		"/var/cache/ldconfig/aux-cache",
		"/var/lib/apt/lists/*",
		"/var/lib/apt/lists/partial/*",
		"/var/lib/dpkg/*-old",
		"/var/lib/systemd/catalog/database",
		"/var/log/alternatives.log",
		"/var/log/apt/*.log*",
		"/var/log/apt/*.log.xz",
		"/var/log/bootstrap.log",
		"/var/log/dpkg.log",
	}
}

func (in *installer) removeLitter() error {
	for _, l := range litter() {
		if err := in.removeMatching(l); err != nil {
			return err
		}
	}
	if err := in.removeManIndex(); err != nil {
		return err
	}
	if err := in.t.Empty("/run", func(n string) bool { return n == "lock" }); err != nil {
		return err
	}
	for _, d := range []string{"/run/lock", "/tmp", "/var/tmp"} {
		if err := in.t.Empty(d, nil); err != nil {
			return err
		}
	}
	return in.removeAllCompiled()
}

// removeManIndex removes man-db's indices of every language, which hold times; mandb makes them.
func (in *installer) removeManIndex() error {
	const dir = "/var/cache/man"
	entries, err := in.t.ReadDir(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir {
			if err := in.removeMatching(dir + "/" + e.Name + "/index.db"); err != nil {
				return err
			}
		}
	}
	return in.removeMatching(dir + "/index.db")
}

// removeAllCompiled looks where Python's own and Debian's modules lie, if the
// root has a Python.
func (in *installer) removeAllCompiled() error {
	entries, err := in.t.ReadDir("/usr/lib")
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(entries, func(e unpack.DirEntry) bool { return strings.HasPrefix(e.Name, "python") }) {
		return nil
	}
	for _, d := range []string{"/usr/lib", "/usr/share"} {
		if err := in.removeCompiled(d, 0); err != nil {
			return err
		}
	}
	return nil
}

// removeMatching removes the files, not the directories, that a pattern names.
func (in *installer) removeMatching(pattern string) error {
	dir, last := path.Split(pattern)
	entries, err := in.t.ReadDir(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if ok, err := path.Match(last, e.Name); err != nil || !ok || e.IsDir {
			continue
		}
		if err := in.t.Remove(dir + e.Name); err != nil {
			return err
		}
	}
	return nil
}

// removeCompiled removes Python's compiled code (__pycache__, and Python 2's
// x.pyc beside x.py), which holds the source's mtime and is made anew when it
// is wanted.
func (in *installer) removeCompiled(dir string, depth int) error {
	entries, err := in.t.ReadDir(dir)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || depth > 64 {
		return nil
	}
	if err != nil {
		return err
	}
	source := map[string]bool{}
	for _, e := range entries {
		source[e.Name] = strings.HasSuffix(e.Name, ".py")
	}
	for _, e := range entries {
		name := dir + "/" + e.Name
		switch {
		case e.IsDir && e.Name == "__pycache__":
			err = in.t.RemoveAll(name)
		case e.IsDir:
			err = in.removeCompiled(name, depth+1)
		case strings.HasSuffix(e.Name, ".pyc") && source[strings.TrimSuffix(e.Name, "c")]:
			err = in.t.Remove(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// clearIdentity empties the machine id, which systemd then makes at the first
// start; dbus's, which would be taken instead, goes.
func (in *installer) clearIdentity() error {
	st, err := in.t.Lstat("/etc/machine-id")
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		m := unpack.Meta{Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid)}
		if err := in.t.WriteFile("/etc/machine-id", nil, m); err != nil {
			return err
		}
	}
	st, err = in.t.Lstat("/var/lib/dbus/machine-id")
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		return in.t.Remove("/var/lib/dbus/machine-id")
	}
	return nil
}

// datePasswords sets the day of the last change, which is the day of the build,
// in the shadow files.
func (in *installer) datePasswords(epoch int64) error {
	for _, name := range []string{"/etc/shadow", "/etc/shadow-"} {
		st, err := in.t.Lstat(name)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		b, err := in.t.ReadFile(name, maxMaster)
		if err != nil {
			return err
		}
		m := unpack.Meta{Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid)}
		if err := in.t.WriteFile(name, []byte(dateShadow(string(b), epoch)), m); err != nil {
			return err
		}
	}
	return nil
}

// dateShadow sets field 3 (days since 1970) of each line that has one. An empty
// field means that nothing ages: it stays.
func dateShadow(s string, epoch int64) string {
	var b strings.Builder
	day := strconv.FormatInt(epoch/86400, 10)
	for line := range strings.Lines(s) {
		f := strings.Split(line, ":")
		if len(f) > 3 && f[2] != "" && f[2] != "0" {
			f[2] = day
		}
		b.WriteString(strings.Join(f, ":"))
	}
	return b.String()
}

// writeFiles writes the lock's own files: sources.list and its like. The user's file of a name comes before it.
func (in *installer) writeFiles() error {
	for _, f := range in.lock.Files {
		if in.isAdded(f.Path) {
			continue
		}
		if err := in.t.MkdirAll(path.Dir(f.Path), unpack.Meta{Mode: 0o755}); err != nil {
			return err
		}
		if err := in.t.WriteFile(f.Path, []byte(f.Content), unpack.Meta{Mode: f.Mode}); err != nil {
			return err
		}
	}
	return in.t.RemoveAll(dpkg.AdminDir + "/tmp.ci")
}
