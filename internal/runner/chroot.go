package runner

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"
)

// Isolation "chroot" is for machines, or rather outer containers, that refuse every namespace and every mount but let
// root chroot and make device nodes. The command has the host's processes, network, names and ids, no /proc and no
// /sys, and a plain copy of the root (or Dir itself) with a /dev of six nodes. A reaper that adopts orphans stands
// above all of its processes, so that they can be found when they are to end; see chroot_end.go.

// chrooted: there are no namespaces and no mounts.
func (s *Spec) chrooted() bool { return s.Isolation == "chroot" }

// chrootDefaults are those that differ without namespaces.
func (s *Spec) chrootDefaults() {
	s.Init, s.NoNewPrivs = true, true
	if s.Caps == nil { // no way out by a second chroot, by a disk's node or by a forged packet
		s.Caps = slices.DeleteFunc(DefaultCaps(), func(c string) bool {
			return c == "CAP_SYS_CHROOT" || c == "CAP_MKNOD" || c == "CAP_NET_RAW"
		})
	}
}

// checkChroot refuses what needs a namespace or a mount.
func (s *Spec) checkChroot() error {
	if s.Isolation != "" && s.Isolation != "namespaces" && s.Isolation != "chroot" {
		return &SpecError{Problem: fmt.Sprintf("isolation %q", s.Isolation), Fix: `use "namespaces" or "chroot"`}
	}
	if !s.chrooted() {
		return nil
	}
	for _, x := range []struct {
		given bool
		what  string
	}{
		{s.ownUsers() || s.Nested, "a user namespace"}, {s.ownNet(), "a network of its own"}, {s.Bare, "mounts of its own"},
		{len(s.Binds) > 0, "binds"}, {len(s.Tmpfs)+len(s.Memory) > 0, "a file system in memory"}, {s.ReadOnly, "a read-only root"},
		{s.Format != nil, "programs of another architecture"}, {s.RecordOwners, "owners of a single id"},
		{s.Dir == "" && s.Work == "", "a copy in memory"},
	} {
		if x.given {
			return &SpecError{Problem: "isolation by chroot alone cannot give " + x.what, Fix: "leave that out, or run it where namespaces are allowed: rootctl doctor"}
		}
	}
	return nil
}

func (s *Spec) planChroot() Plan {
	p := Plan{{Host: true, Verb: VerbClone}, {Host: true, Verb: VerbKeeper}}
	if s.Limits != (Limits{}) {
		p = append(p, Op{Host: true, Verb: VerbLimit, Options: s.Limits.words()})
	}
	if s.Dir != "" {
		p = append(p, Op{Host: true, Verb: VerbTree, Source: s.Dir})
	} else {
		p = append(p, Op{Host: true, Verb: VerbCopy, Source: path.Join(s.Lower...), Target: s.Work, Options: s.Lower})
	}
	p = append(p, Op{Host: true, Verb: VerbNodes, Target: "/dev", Options: s.DevNodes})
	p = append(p, Op{Verb: VerbStart}, Op{Verb: VerbBecome}, Op{Verb: VerbReceive})
	if s.TTY {
		p = append(p, Op{Verb: VerbTerminal})
	}
	return s.planEnd(s.planFiles(p))
}

// chrootTree makes the root's directory ready and opens it.
func (c *container) chrootTree() (int, error) {
	op := c.plan.find(VerbNodes)
	if c.spec.Dir == "" {
		top, err := c.plainCopy(c.plan.find(VerbCopy), owner{})
		if err != nil {
			return -1, err
		}
		r := remover{ctx: context.Background(), top: top}
		err = r.remove(top, "dev", 0)
		if err == nil || errors.Is(err, unix.ENOENT) {
			err = makeDev(top, c.spec.DevNodes)
		}
		if err != nil {
			unix.Close(top)
			return -1, stepError(op, "", err)
		}
		return top, nil
	}
	top, err := unix.Open(c.spec.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, stepError(c.plan.find(VerbTree), "open", fmt.Errorf("%s: %w", c.spec.Dir, err))
	}
	if err := c.swapDev(top); err != nil {
		unix.Close(top)
		return -1, stepError(op, "", err)
	}
	return top, nil
}

// swapDev puts a /dev of ours in the place of the tree's own, which lies beside the tree meanwhile: nothing that the
// command does there is to stay, nor the time of its making.
func (c *container) swapDev(top int) error {
	for _, d := range []string{"proc", "sys"} { // as where they are mounted on
		if err := unix.Mkdirat(top, d, 0o755); err != nil && err != unix.EEXIST {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(top, &st); err != nil {
		return err
	}
	aside := c.spec.Dir + ".dev"
	err := unix.Renameat(top, "dev", unix.AT_FDCWD, aside)
	if err == unix.ENOENT {
		err = unix.Mkdir(aside, 0o755)
	}
	if err != nil {
		return err
	}
	again, err := unix.FcntlInt(uintptr(top), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.putBack = func() error {
		defer unix.Close(again)
		return putDevBack(again, aside, &st)
	}
	if err := makeDev(top, c.spec.DevNodes); err != nil {
		return err
	}
	return setMtime(top, &st)
}

// putDevBack undoes swapDev. If the command has changed the directory / its time stays.
func putDevBack(top int, aside string, before *unix.Stat_t) error {
	var now unix.Stat_t
	if err := unix.Fstat(top, &now); err != nil {
		return err
	}
	r := remover{ctx: context.Background(), top: top}
	if err := r.remove(top, "dev", 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove /dev: %w", err)
	}
	if err := unix.Renameat(unix.AT_FDCWD, aside, top, "dev"); err != nil {
		return fmt.Errorf("put /dev back: %w", err)
	}
	if now.Mtim == before.Mtim {
		return setMtime(top, before)
	}
	return nil
}

func setMtime(fd int, st *unix.Stat_t) error {
	return unix.UtimesNanoAt(fd, "", []unix.Timespec{{Nsec: unix.UTIME_OMIT}, st.Mtim}, unix.AT_EMPTY_PATH)
}

// NodesError says that there can be no /dev without mounts.
type NodesError struct {
	Path string
	Err  error
}

func (e *NodesError) Error() string { return "device node " + e.Path + ": " + e.Err.Error() }
func (e *NodesError) Unwrap() error { return e.Err }

// Hint is the next step for the user.
func (e *NodesError) Hint() string {
	if e.Err == unix.EACCES {
		return "the cache's file system is mounted nodev: put the cache elsewhere with --cache DIR"
	}
	return "the right CAP_MKNOD is missing, or a rule on devices forbids it: docker run --cap-add MKNOD; the rest is said by rootctl doctor"
}

// makeDev makes /dev with the nodes that every program counts on; more are links to the null device.
func makeDev(top int, more []string) error {
	if err := unix.Mkdirat(top, "dev", 0o755); err != nil {
		return err
	}
	dev, err := unix.Openat(top, "dev", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	node := func(name string, major, minor uint32) error {
		err := unix.Mknodat(dev, name, unix.S_IFCHR|0o666, int(unix.Mkdev(major, minor)))
		if err == nil {
			err = unix.Fchmodat(dev, name, 0o666, 0)
		}
		if err != nil {
			return &NodesError{"/dev/" + name, err}
		}
		return nil
	}
	for _, n := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}} {
		if err := node(n.name, n.major, n.minor); err != nil {
			return err
		}
	}
	for _, n := range more {
		if err := node(n, 1, 3); err != nil {
			return err
		}
	}
	fd, err := unix.Openat(dev, "null", unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &NodesError{"/dev/null", err}
	}
	unix.Close(fd)
	for _, l := range [][2]string{{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"}} {
		if err := unix.Symlinkat(l[0], dev, l[1]); err != nil {
			return err
		}
	}
	for name, mode := range map[string]uint32{"shm": 0o1777, "pts": 0o755} {
		if err := unix.Mkdirat(dev, name, 0o755); err != nil {
			return err
		}
		if err := unix.Fchmodat(dev, name, mode, 0); err != nil {
			return err
		}
	}
	return unix.Fchmodat(dev, ".", 0o755, 0)
}

// chroot makes the received directory the root. The reaper stays outside.
func (l *lowering) chroot() {
	l.add("fchdir", unix.SYS_FCHDIR, slotRoot)
	l.add("chroot", unix.SYS_CHROOT, ".")
	l.add("chdir", unix.SYS_CHDIR, "/")
}

// permitted are the capabilities of this process. All of them, if they cannot be read.
func permitted() uint64 {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	if unix.Capget(&h, &d[0]) != nil {
		return ^uint64(0)
	}
	return uint64(d[0].Effective) | uint64(d[1].Effective)<<32
}

// Capable says whether this process has a capability, by its name of capabilities(7), in effect.
func Capable(name string) bool {
	n, ok := capNumber(name)
	return ok && permitted()&(1<<n) != 0
}
