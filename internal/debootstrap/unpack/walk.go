package unpack

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxDepth bounds recursion in a tree that scripts have written to. PATH_MAX
// allows no more for anything that is to be used.
const maxDepth = 2000

// RemoveAll removes a name and all below it. One that is not there is no error.
func (t *Tree) RemoveAll(name string) error {
	err := t.at(name, func(dir int, base string) error { return removeAll(dir, base, 0) })
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func removeAll(dir int, base string, depth int) error {
	err := unix.Unlinkat(dir, base, 0)
	if err == nil || err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	if err := removeContent(dir, base, depth, nil); err != nil {
		return err
	}
	return unix.Unlinkat(dir, base, unix.AT_REMOVEDIR)
}

func removeContent(dir int, base string, depth int, keep func(string) bool) error {
	if depth > maxDepth {
		return errors.New("directories are nested too deeply")
	}
	fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if keep != nil && keep(n) {
			continue
		}
		if err := removeAll(fd, n, depth+1); err != nil {
			return fmt.Errorf("remove %s: %w", n, err)
		}
	}
	return nil
}

// Empty removes all in a directory but the names keep wants. A directory that
// is not there, or is a link, is left alone.
func (t *Tree) Empty(name string, keep func(string) bool) error {
	err := t.at(name, func(dir int, base string) error { return removeContent(dir, base, 0, keep) })
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	return err
}

// ClampTimes sets to epoch the mtimes that are later, and those not before
// since: they are of this build, even if a clock says that the epoch is still
// to come. It covers all names and the tree itself.
func (t *Tree) ClampTimes(epoch, since int64) error {
	fd, err := unix.Openat(t.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return clamper{epoch, since}.dir(fd, ".", 0)
}

type clamper struct{ epoch, since int64 }

// dir clamps what is in the open directory fd, and closes it.
func (c clamper) dir(fd int, name string, depth int) error {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if depth > maxDepth {
		return errors.New("directories are nested too deeply")
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := c.name(fd, n, depth); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	if depth > 0 {
		return nil // its parent does it, knowing its time
	}
	return c.name(fd, ".", -1)
}

func (c clamper) name(dir int, n string, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, n, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && depth >= 0 {
		fd, err := unix.Openat(dir, n, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		if err := c.dir(fd, n, depth+1); err != nil {
			return err
		}
	}
	late := st.Mtim.Sec > c.epoch || st.Mtim.Sec == c.epoch && st.Mtim.Nsec > 0
	if !late && st.Mtim.Sec < c.since {
		return nil
	}
	return setTime(dir, n, c.epoch)
}
