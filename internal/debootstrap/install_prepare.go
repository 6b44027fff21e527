package debootstrap

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// undoing is what has to be taken back, last thing first.
type undoing struct{ steps []func() error }

func (u *undoing) add(f func() error) { u.steps = append(u.steps, f) }

// run takes everything back, whatever fails on the way, once.
func (u *undoing) run() error {
	var errs []error
	for i := len(u.steps) - 1; i >= 0; i-- {
		errs = append(errs, u.steps[i]())
	}
	u.steps = nil
	return errors.Join(errs...)
}

const (
	policyRCd = "/usr/sbin/policy-rc.d"

	// stubDaemon stands in for start-stop-daemon and initctl while maintainer
	// scripts run: nothing may be started in a root that is being made.
	stubDaemon  = "#!/bin/sh\necho\necho \"Warning: Fake start-stop-daemon called, doing nothing\"\n"
	stubInitctl = "#!/bin/sh\necho\necho \"Warning: Fake initctl called, doing nothing\"\n"

	// stubChroot stands in for ischroot, which compares its root with that of process 1 and so takes a
	// container for a machine. libc6 then has init started anew and waits a second for it.
	stubChroot = "#!/bin/sh\nexit 0\n"

	diverted = ".REAL"
)

// prepare makes an unpacked root fit for running maintainer scripts. What it
// returns takes back all that the result must not hold; it is to be run
// whether prepare fails or not.
func (in *installer) prepare() (*undoing, error) {
	u := &undoing{}
	for _, d := range []string{"/dev", "/proc", "/sys", "/run"} {
		if err := in.realDir(d); err != nil {
			return u, err
		}
	}
	if err := in.prepareFiles(u); err != nil {
		return u, err
	}
	if err := in.prepareLinks(); err != nil {
		return u, err
	}
	if err := in.divert(u, "/sbin/start-stop-daemon", stubDaemon); err != nil {
		return u, err
	}
	if err := in.standIn(u, "/usr/bin/ischroot", stubChroot); err != nil {
		return u, err
	}
	if err := in.divertFast(u); err != nil {
		return u, err
	}
	if in.lock.Rules.Initctl {
		return u, in.divert(u, "/sbin/initctl", stubInitctl)
	}
	return u, nil
}

// realDir makes a top-level directory, and refuses a root that has something
// else there: what is mounted on it, or written to it, would land elsewhere.
func (in *installer) realDir(name string) error {
	if err := in.t.MkdirAll(name, unpack.Meta{Mode: 0o755}); err != nil {
		return err
	}
	st, err := in.t.Lstat(name)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = fmt.Errorf("%s is not a directory", name)
	}
	return err
}

func (in *installer) prepareFiles(u *undoing) error {
	files := []struct {
		name, data string
		mode       uint32
		keep       bool
	}{
		{"/etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n", 0o644, true},
		// Scripts ask for these two; the result must not know where it was made.
		{"/etc/hostname", "localhost\n", 0o644, false},
		{"/etc/resolv.conf", "", 0o644, false},
		{policyRCd, "#!/bin/sh\nexit 101\n", 0o755, false},
	}
	for _, f := range files {
		made, err := in.t.CreateFile(f.name, []byte(f.data), unpack.Meta{Mode: f.mode})
		if err != nil {
			return err
		}
		if made && !f.keep {
			u.add(func() error { return in.removeFile(f.name, f.data) })
		}
	}
	if in.lock.Rules.SkipUsrmergeMarker && !in.lock.Merged {
		_, err := in.t.CreateFile("/etc/unsupported-skip-usrmerge-conversion",
			[]byte("this system will not be supported in the future\n"), unpack.Meta{Mode: 0o644})
		return err
	}
	return nil
}

// removeFile removes a temporary file, unless a script has made something else
// of it, or the user has put a file of their own there.
func (in *installer) removeFile(name, data string) error {
	st, err := in.t.Lstat(name)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil
	}
	if in.isAdded(name) {
		return nil
	}
	if len(in.lock.Hooks) > 0 {
		if _, ours, err := in.isStub(name, data); err != nil || !ours {
			return err
		}
	}
	return in.t.Remove(name)
}

// isAdded is whether a path is one of the user's files.
func (in *installer) isAdded(name string) bool {
	return slices.ContainsFunc(in.lock.Added, func(f AddedFile) bool { return f.Path == name })
}

// prepareLinks makes links that packages' own scripts replace, but which those
// that run before them need.
func (in *installer) prepareLinks() error {
	for _, l := range []struct{ name, target, needs string }{
		{"/etc/localtime", "/usr/share/zoneinfo/UTC", ""},
		{"/bin/sh", "dash", "/bin/dash"},
		{"/usr/bin/awk", "mawk", "/usr/bin/mawk"},
	} {
		if l.needs != "" && !in.t.Exists(l.needs) {
			continue
		}
		if _, err := in.t.Symlink(l.target, l.name); err != nil {
			return err
		}
	}
	return nil
}

// divert puts a stub in a program's place, if the root has it.
func (in *installer) divert(u *undoing, name, stub string) error {
	if !in.t.Exists(name) {
		return nil
	}
	if err := in.t.Rename(name, name+diverted); err != nil {
		return err
	}
	u.add(func() error {
		if len(in.lock.Hooks)+len(in.lock.Added) > 0 { // a newer one of apt's in a hook, or the user's own, stays
			if _, ours, err := in.isStub(name, stub); err == nil && !ours && in.t.Exists(name) {
				return in.t.Remove(name + diverted)
			}
		}
		if err := in.t.Rename(name+diverted, name); err != nil {
			return fmt.Errorf("put %s back: %w", name, err)
		}
		return nil
	})
	_, err := in.t.CreateFile(name, []byte(stub), unpack.Meta{Mode: 0o755})
	return err
}
