package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copied makes the container's root where overlay cannot: a plain copy of all layers, which shares blocks with them where
// the file system can (never names: a write in place would reach the cache). Its files have the container's ids, a block
// that no other running container has, so nothing of it need be idmapped. It goes as an upper directory does.
func (c *container) copied(op Op, root owner, why error) (int, error) {
	var step *StepError
	if errors.As(why, &step) && (step.Call == "mount_setattr" || c.spec.idmapped() && errors.Is(why, unix.EINVAL)) {
		why = errors.New("ids cannot be mapped below an overlay here; Linux 5.19 or newer does it with a cache on ext4, xfs, btrfs or tmpfs")
	}
	c.note("the whole root is copied for this run: %v", why)
	top, err := c.plainCopy(op, root)
	if err != nil || c.spec.Work == "" {
		return top, err
	}
	defer unix.Close(top)
	fd, err := unix.OpenTree(top, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return -1, stepError(op, "open_tree", err)
	}
	a := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &a); err != nil {
		unix.Close(fd)
		return -1, stepError(op, "mount_setattr", err)
	}
	return fd, nil
}

// plainCopy copies all layers to the directory u of Work, or to memory, and opens it.
func (c *container) plainCopy(op Op, root owner) (int, error) {
	t := treeCopy{shift: idShift{root: root, IDRange: c.spec.IDs}, links: map[[2]uint64]string{}, top: -1}
	if !c.spec.treeMapped() {
		t.shift = idShift{}
	}
	if c.spec.KeepCopy {
		if err := os.WriteFile(WholeMark(c.spec.Work), nil, 0o600); err != nil {
			return -1, stepError(op, "open", err)
		}
	}
	var err error
	if t.top, err = c.copyTarget(op); err != nil {
		return -1, err
	}
	for i := len(c.spec.Lower) - 1; i >= 0; i-- {
		from, err := unix.Open(c.spec.Lower[i], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == nil {
			clear(t.links)
			t.above = i < len(c.spec.Lower)-1
			err = t.dir(from, t.top, "", 0)
			unix.Close(from)
		}
		if err != nil {
			unix.Close(t.top)
			return -1, stepError(op, "copy", fmt.Errorf("%s: %w", c.spec.Lower[i], err))
		}
	}
	return t.top, nil
}

// WholeMark is a file in a kept Work whose u is the whole root, not what differs from it.
func WholeMark(work string) string { return work + "/whole" }

// copyTarget is the directory u of Work, on any file system, or memory.
func (c *container) copyTarget(op Op) (int, error) {
	if c.spec.Work == "" {
		options := []string{"mode=755"}
		if n := c.spec.UpperSize; n > 0 {
			options = append(options, fmt.Sprintf("size=%d", n))
		}
		return newFS(op, "tmpfs", unix.MOUNT_ATTR_NODEV, options...)
	}
	u := c.spec.Work + "/u"
	if err := unix.Mkdir(u, 0o700); err != nil && err != unix.EEXIST { // there if overlay was tried: still empty
		return -1, stepError(op, "mkdir", err)
	}
	fd, err := unix.Open(u, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	return fd, stepError(op, "open", err)
}

// treeCopy copies one tree after the other into a directory that nobody else knows.
type treeCopy struct {
	top   int
	above bool // a layer that only adds: the root's own attributes are those of the lowest
	shift idShift
	links map[[2]uint64]string // files with several names: where the first is
}

// dir copies what is in a directory, and its own attributes last: what is made in it changes its times.
func (t *treeCopy) dir(from, to int, path string, depth int) error {
	if depth > maxNesting {
		return errNested
	}
	names, err := namesIn(from)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := t.name(from, to, path, n, depth); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(from, &st); err != nil {
		return err
	}
	if depth == 0 && t.above {
		return nil
	}
	return t.attributes(from, to, &st)
}

func (t *treeCopy) name(from, to int, path, name string, depth int) error {
	src, err := unix.Openat(from, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(src)
	var st unix.Stat_t
	if err := unix.Fstat(src, &st); err != nil {
		return err
	}
	path += "/" + name
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFCHR || kind == unix.S_IFBLK {
		return nil // of no use in a container
	}
	// What a lower layer has there gives way; a directory stays under a directory.
	if err := unix.Unlinkat(to, name, 0); err == unix.EISDIR && kind != unix.S_IFDIR {
		r := remover{ctx: context.Background(), top: to}
		if err := r.remove(to, name, 0); err != nil {
			return err
		}
	}
	if kind == unix.S_IFDIR {
		if err := unix.Mkdirat(to, name, 0o700); err != nil && err != unix.EEXIST {
			return err
		}
		return t.opened(to, name, unix.O_RDONLY|unix.O_DIRECTORY, func(dst int) error { return t.dir(src, dst, path, depth+1) })
	}
	id := [2]uint64{uint64(st.Dev), st.Ino}
	if first, ok := t.links[id]; ok {
		return unix.Linkat(t.top, first[1:], to, name, 0)
	}
	if st.Nlink > 1 {
		t.links[id] = path
	}
	switch kind {
	case unix.S_IFREG:
		return t.opened(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, func(dst int) error {
			if err := copyData(src, dst, st.Size); err != nil {
				return err
			}
			return t.attributes(src, dst, &st)
		})
	case unix.S_IFLNK:
		target := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(src, "", target)
		if err == nil {
			err = unix.Symlinkat(string(target[:n]), to, name)
		}
		if err != nil {
			return err
		}
	default: // a FIFO or a socket
		if err := unix.Mknodat(to, name, kind|0o600, 0); err != nil {
			return err
		}
	}
	return t.opened(to, name, unix.O_PATH, func(dst int) error { return t.attributes(src, dst, &st) })
}

func (t *treeCopy) opened(dir int, name string, flags int, then func(fd int) error) error {
	fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return then(fd)
}

// attributes gives owner, mode, extended attributes and times, in the order in which none undoes another.
func (t *treeCopy) attributes(src, dst int, st *unix.Stat_t) error {
	to := t.shift.owner(st)
	if err := unix.Fchownat(dst, "", int(to.uid), int(to.gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	path := fmt.Sprintf("/proc/self/fd/%d", dst)
	times := []unix.Timespec{st.Atim, st.Mtim}
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return utimesFD(dst, times)
	}
	if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
		return err
	}
	all, err := attrs(src)
	if err != nil {
		return err
	}
	for name, v := range all {
		err := unix.Setxattr(path, name, t.shift.xattr(name, v), 0)
		if err == unix.ENOTSUP || err == unix.EPERM && name != "security.capability" {
			continue // a label of the host's, or what this file system does not keep
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return utimesFD(dst, times)
}

// utimesFD sets the times of a descriptor. One opened with O_PATH takes them since Linux 5.8 only by an empty path.
func utimesFD(fd int, times []unix.Timespec) error {
	return unix.UtimesNanoAt(fd, "", times, unix.AT_EMPTY_PATH)
}

// copyData shares the blocks of an O_PATH descriptor's file, or copies them.
func copyData(src, dst int, size int64) error {
	if size == 0 {
		return nil
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", src), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	in := os.NewFile(uintptr(fd), "source")
	defer in.Close()
	if unix.IoctlFileClone(dst, fd) == nil {
		return nil
	}
	own, err := unix.FcntlInt(uintptr(dst), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(own), "copy")
	n, err := io.Copy(out, in)
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF
	}
	return errors.Join(err, out.Close())
}

// namesIn reads a directory that an O_PATH descriptor stands for.
func namesIn(dir int) ([]string, error) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "directory")
	defer f.Close()
	return f.Readdirnames(-1)
}
