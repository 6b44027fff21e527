package runner

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// rootTree makes the detached mount that becomes the container's root.
func (c *container) rootTree(users int, root owner) (int, error) {
	if c.spec.chrooted() {
		return c.chrootTree()
	}
	if c.spec.Dir == "" {
		op := c.plan.find(VerbOverlay)
		if c.spec.Shifted && root != (owner{c.spec.IDs.Base, c.spec.IDs.Base}) {
			c.spec.Lower, c.spec.Shifted = c.spec.Unshifted, false
			return c.copied(op, root, errors.New("a bind makes root of the container another user"))
		}
		if c.opts.plainCopy {
			return c.copied(op, root, errors.New("it was asked for"))
		}
		fd, err := c.overlay(users, root)
		if err != nil && noOverlay(err) {
			return c.copied(op, root, err)
		}
		return fd, err
	}
	return cloneTree(c.plan.find(VerbTree), c.spec.Dir, users)
}

// cloneTree clones the mount of a directory: private, so that nothing mounted below it shows on the host, and idmapped
// if users is a user namespace.
func cloneTree(op Op, dir string, users int) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, stepError(op, "open_tree", fmt.Errorf("%s: %w", dir, err))
	}
	a := unix.MountAttr{Attr_set: op.Attrs, Propagation: unix.MS_PRIVATE}
	if users >= 0 {
		a.Userns_fd = uint64(users)
	} else {
		a.Attr_set &^= unix.MOUNT_ATTR_IDMAP
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &a); err != nil {
		unix.Close(fd)
		return -1, stepError(op, "mount_setattr", err)
	}
	return fd, nil
}

// layers are the parts of an overlay, as descriptors.
type layers struct {
	op    Op
	lower []int
	work  int  // holds the directories u (upper) and w (work)
	kept  bool // w may be there
}

// overlay makes the copy: the lower directories idmapped, the upper one plainly owned by root of the container. An
// idmapped upper would not do: overlay makes whiteouts with an id that has no mapping there.
func (c *container) overlay(users int, root owner) (int, error) {
	op := c.plan.find(VerbOverlay)
	l := layers{op: op, work: -1, kept: c.spec.KeepWork}
	defer func() { c.leftover, c.work = append(c.leftover, l.lower...), l.work }()
	mode := uint32(0o755)
	for i, dir := range c.spec.Lower {
		lop := op
		lop.Source = dir
		fd, err := cloneTree(lop, dir, users)
		if err != nil {
			return -1, err
		}
		l.lower = append(l.lower, fd)
		if i == len(c.spec.Lower)-1 { // layers above it only add
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil {
				return -1, stepError(lop, "fstat", err)
			}
			mode = st.Mode & 0o7777
		}
	}
	var err error
	if l.work, err = c.workTree(op); err != nil {
		return -1, err
	}
	if err := l.makeUpper(root, mode); err != nil {
		return -1, err
	}
	if !c.opts.pathOverlay {
		fd, err := l.byFD()
		if err == nil || !pathsOnly(err) {
			return fd, err
		}
	}
	return l.byPath()
}

// pathsOnly: the kernel takes no descriptors of layers. Before 6.5 overlay takes strings alone (EOPNOTSUPP), before 6.13
// it knows lowerdir+ but not as a descriptor.
func pathsOnly(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBADF)
}

// noOverlay: the kernel or the file systems cannot do what the copy needs. Layers cannot be idmapped on overlay itself,
// nor as layers before Linux 5.19.
func noOverlay(err error) bool {
	var step *StepError
	if !errors.As(err, &step) || step.Call == "open_tree" {
		return false
	}
	for _, no := range []error{unix.EINVAL, unix.EPERM, unix.ENODEV, unix.EOPNOTSUPP, unix.ENOSYS} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

const overlayMagic = 0x794c7630

// workTree opens what holds the upper directory: Work, or memory if there is none or if it is on overlay itself.
func (c *container) workTree(op Op) (int, error) {
	if c.spec.Work == "" {
		return c.upperInMemory(op)
	}
	fd, err := unix.Open(c.spec.Work, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, stepError(op, "open", fmt.Errorf("%s: %w", c.spec.Work, err))
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		unix.Close(fd)
		return -1, stepError(op, "fstatfs", err)
	}
	if st.Type != overlayMagic {
		return fd, nil
	}
	unix.Close(fd)
	if c.spec.KeepCopy { // memory keeps nothing
		return -1, stepError(op, "fstatfs", fmt.Errorf("an overlay file system cannot keep what another one changes: %w", unix.EOPNOTSUPP))
	}
	c.note("changes are kept in memory (at most half of it): the cache is on an overlay file system")
	return c.upperInMemory(op)
}

func (l *layers) makeUpper(root owner, mode uint32) error {
	for _, d := range []string{"u", "w"} {
		if err := unix.Mkdirat(l.work, d, 0o700); err != nil && (err != unix.EEXIST || d != "w" || !l.kept) {
			return stepError(l.op, "mkdirat", err)
		}
	}
	if err := unix.Fchownat(l.work, "u", int(root.uid), int(root.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return stepError(l.op, "fchownat", err)
	}
	return stepError(l.op, "fchmodat", unix.Fchmodat(l.work, "u", mode, 0))
}

// byFD hands the layers over as descriptors (Linux 6.13).
func (l *layers) byFD() (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, stepError(l.op, "fsopen", err)
	}
	defer unix.Close(fs)
	for _, fd := range l.lower {
		if err := unix.FsconfigSetFd(fs, "lowerdir+", fd); err != nil {
			return -1, fsError(l.op, "fsconfig lowerdir+", fs, err)
		}
	}
	for _, d := range [][2]string{{"upperdir", "u"}, {"workdir", "w"}} {
		fd, err := unix.Openat(l.work, d[1], unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, stepError(l.op, "openat", err)
		}
		err = unix.FsconfigSetFd(fs, d[0], fd)
		unix.Close(fd)
		if err != nil {
			return -1, fsError(l.op, "fsconfig "+d[0], fs, err)
		}
	}
	return finishFS(l.op, fs, int(l.op.Attrs&^unix.MOUNT_ATTR_IDMAP), l.op.Options...)
}

// byPath is for kernels that take layers by path only. A path leads to an idmapped layer only where it is mounted, so
// they are attached in a mount namespace that one thread has for a moment; the overlay keeps clones of its own.
func (l *layers) byPath() (int, error) {
	type result struct {
		fd  int
		err error
	}
	// A clone for attaching; memory of ours is detached and is attached itself.
	work, err := unix.OpenTree(l.work, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		work, err = unix.FcntlInt(uintptr(l.work), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil {
		return -1, stepError(l.op, "open_tree", err)
	}
	defer unix.Close(work)
	done := make(chan result)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and the namespace with the thread.
		runtime.LockOSThread()
		fd, err := l.inOwnMounts(work)
		done <- result{fd, err}
	}()
	r := <-done
	return r.fd, r.err
}

func (l *layers) inOwnMounts(work int) (int, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, stepError(l.op, "unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return -1, stepError(l.op, "mount", err)
	}
	desk, err := newFS(l.op, "tmpfs", 0, "mode=700")
	if err != nil {
		return -1, err
	}
	defer unix.Close(desk)
	if err := unix.MoveMount(desk, "", unix.AT_FDCWD, "/proc", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return -1, stepError(l.op, "move_mount", err)
	}
	if err := unix.Fchdir(desk); err != nil { // the thread has a working directory of its own since unshare
		return -1, stepError(l.op, "fchdir", err)
	}
	names := make([]string, len(l.lower))
	for i, fd := range l.lower {
		names[i] = fmt.Sprintf("l%d", i)
		if err := l.attachAt(desk, names[i], fd); err != nil {
			return -1, err
		}
	}
	if err := l.attachAt(desk, "d", work); err != nil {
		return -1, err
	}
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, stepError(l.op, "fsopen", err)
	}
	defer unix.Close(fs)
	opts := append([]string{"lowerdir=" + strings.Join(names, ":"), "upperdir=d/u", "workdir=d/w"}, l.op.Options...)
	return finishFS(l.op, fs, int(l.op.Attrs&^unix.MOUNT_ATTR_IDMAP), opts...)
}

func (l *layers) attachAt(dir int, name string, mount int) error {
	if err := unix.Mkdirat(dir, name, 0o700); err != nil {
		return stepError(l.op, "mkdirat", err)
	}
	return stepError(l.op, "move_mount", unix.MoveMount(mount, "", dir, name, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// newFS makes a detached mount of a new file system.
func newFS(op Op, typ string, attrs int, options ...string) (int, error) {
	fs, err := unix.Fsopen(typ, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, stepError(op, "fsopen "+typ, err)
	}
	defer unix.Close(fs)
	return finishFS(op, fs, attrs, options...)
}

// finishFS sets options ("key=value" or "flag"), creates the file system and mounts it detached.
func finishFS(op Op, fs, attrs int, options ...string) (int, error) {
	for _, o := range options {
		var err error
		if k, v, ok := strings.Cut(o, "="); ok {
			err = unix.FsconfigSetString(fs, k, v)
		} else {
			err = unix.FsconfigSetFlag(fs, o)
		}
		if err != nil {
			return -1, fsError(op, "fsconfig "+o, fs, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, fsError(op, "fsconfig create", fs, err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return -1, fsError(op, "fsmount", fs, err)
	}
	return fd, nil
}

// fsError adds what the kernel wrote to the file system's log.
func fsError(op Op, call string, fs int, err error) error {
	var words []string
	b := make([]byte, 1024)
	for range 16 {
		n, e := unix.Read(fs, b)
		if e != nil || n == 0 {
			break
		}
		words = append(words, strings.TrimSpace(string(b[:n])))
	}
	return &StepError{Op: op, Call: call, Err: err, Detail: strings.Join(words, "; ")}
}
