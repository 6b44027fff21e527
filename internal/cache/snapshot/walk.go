package snapshot

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A found is one name that walk met on disk.
type found struct {
	path string // as in an Entry
	dir  int    // the directory that holds it, open while visited; -1 at the root
	name string // in dir
	fd   int    // itself, if it is a directory; else -1
	st   unix.Statx_t
}

func (f *found) kind() uint16   { return f.st.Mode & unix.S_IFMT }
func (f *found) mode() uint32   { return uint32(f.st.Mode) & 07777 }
func (f *found) device() bool   { return f.kind() == unix.S_IFCHR || f.kind() == unix.S_IFBLK }
func (f *found) inode() inode   { return inode{f.st.Dev_major, f.st.Dev_minor, f.st.Ino} }
func (f *found) seconds() int64 { return max(f.st.Mtime.Sec, 0) }

type inode struct {
	major, minor uint32
	ino          uint64
}

const statMask = unix.STATX_BASIC_STATS

// walk calls visit for tree and all below it, in canonical order. It goes by directory fds and follows
// no symlink; something mounted below tree is an error, for what shows there is not the tree's.
// after, if not nil, is called for a directory when all in it has been visited.
func walk(tree string, visit, after func(*found) error) error {
	fd, err := unix.Open(tree, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", tree, err)
	}
	defer unix.Close(fd)
	root := &found{path: ".", dir: -1, fd: fd}
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH, statMask, &root.st); err != nil {
		return fmt.Errorf("stat %s: %w", tree, err)
	}
	w := walker{visit: visit, after: after, buf: make([]byte, 32<<10)}
	return w.dir(root)
}

type walker struct {
	visit, after func(*found) error
	buf          []byte
}

func (w *walker) dir(d *found) error {
	if err := w.visit(d); err != nil {
		return err
	}
	names, err := w.names(d.fd)
	if err != nil {
		return fmt.Errorf("read directory %s: %w", d.path, err)
	}
	prefix := ""
	if d.path != "." {
		prefix = d.path + "/"
	}
	for _, name := range names {
		f := &found{path: prefix + name, dir: d.fd, name: name, fd: -1}
		if err := w.name(f); err != nil {
			return err
		}
	}
	if w.after != nil {
		return w.after(d)
	}
	return nil
}

func (w *walker) name(f *found) error {
	if len(f.path) > maxPath {
		return fmt.Errorf("path %q is over %d bytes", clip(f.path), maxPath)
	}
	if err := unix.Statx(f.dir, f.name, unix.AT_SYMLINK_NOFOLLOW, statMask, &f.st); err != nil {
		return fmt.Errorf("stat %s: %w", f.path, err)
	}
	if f.st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return fmt.Errorf("%s is a mount point", f.path)
	}
	if f.kind() != unix.S_IFDIR {
		return w.visit(f)
	}
	fd, err := unix.Openat(f.dir, f.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", f.path, err)
	}
	defer unix.Close(fd)
	f.fd = fd
	return w.dir(f)
}

// names lists a directory, sorted.
func (w *walker) names(fd int) ([]string, error) {
	var names []string
	for {
		n, err := unix.ReadDirent(fd, w.buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			break
		}
		_, _, names = unix.ParseDirent(w.buf[:n], -1, names)
	}
	slices.Sort(names)
	return names, nil
}
