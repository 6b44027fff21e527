// Package unpack writes packages' files into a root filesystem, and gives the
// few operations on such a tree that a build needs, so that no name inside it
// can lead outside.
//
// A name is resolved as if the tree were "/": links inside it work (bin ->
// usr/bin, /var/run -> /run), and none escapes, whoever made it. The last part
// of a name is never followed unless a method says so.
package unpack

import (
	"errors"
	"fmt"
	"os"
	"path"
	"sort"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

// A Tree is a root filesystem on a directory fd. Its methods may be called
// from several goroutines.
type Tree struct {
	fd     int
	path   string
	owners owners
	keep   *cache.Owners // nil: the disk takes owners

	layout sync.Mutex
	lazy   map[string]bool // top-level names that are to be links once shipped
}

// Open opens the directory dir as a tree.
func Open(dir string) (*Tree, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open tree", Path: dir, Err: err}
	}
	t := &Tree{fd: fd, path: dir}
	t.owners.init()
	return t, nil
}

// KeepOwners has owners recorded instead of given to the files, for a disk that cannot take them.
func (t *Tree) KeepOwners(o *cache.Owners) { t.keep = o }

// Close releases the tree.
func (t *Tree) Close() error { return unix.Close(t.fd) }

// Path is the path of the tree outside, for a container that is to start in it.
func (t *Tree) Path() string { return t.path }

// resolve is openat2 within the tree. Final links are followed unless flags
// hold O_NOFOLLOW.
func (t *Tree) resolve(name string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	rel := strings.TrimLeft(name, "/")
	if rel == "" {
		rel = "."
	}
	// The kernel answers EAGAIN when a rename anywhere on the system raced with a
	// ".." of ours: ask again, not for ever.
	for range 1000 {
		fd, err := unix.Openat2(t.fd, rel, &how)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return fd, nil
	}
	return -1, &os.PathError{Op: "open", Path: name, Err: unix.EAGAIN}
}

func (t *Tree) openDir(name string) (int, error) {
	return t.resolve(name, unix.O_RDONLY|unix.O_DIRECTORY)
}

// at calls f with the parent of name and name's last part.
func (t *Tree) at(name string, f func(dir int, base string) error) error {
	name = path.Clean("/" + name)
	if name == "/" {
		return &os.PathError{Op: "open", Path: name, Err: unix.EINVAL}
	}
	dir, base := path.Split(name)
	fd, err := t.openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := f(fd, base); err != nil {
		return &os.PathError{Op: "in tree", Path: name, Err: err}
	}
	return nil
}

// ReadFile returns a regular file's content, following links inside the tree.
// A file longer than limit is an error.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	fd, err := t.resolve(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	if fi.Size() > limit {
		return nil, &os.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes, at most %d are read", fi.Size(), limit)}
	}
	b := make([]byte, fi.Size())
	n, err := readFull(f, b)
	return b[:n], err
}

// Meta is what a new file or directory gets beside its content.
type Meta struct {
	Mode     uint32 // permission bits, setuid and its like included
	UID, GID int
}

// WriteFile makes name a regular file with data, in place of whatever but a
// directory stood there.
func (t *Tree) WriteFile(name string, data []byte, m Meta) error {
	return t.at(name, func(dir int, base string) error {
		if err := unix.Unlinkat(dir, base, 0); err != nil && err != unix.ENOENT {
			return err
		}
		return t.writeNew(dir, base, data, m)
	})
}

// CreateFile is WriteFile for a name that must not exist: it reports whether
// it did anything.
func (t *Tree) CreateFile(name string, data []byte, m Meta) (created bool, err error) {
	err = t.at(name, func(dir int, base string) error {
		err := t.writeNew(dir, base, data, m)
		if err == unix.EEXIST {
			return nil
		}
		created = err == nil
		return err
	})
	return created, err
}

func (t *Tree) writeNew(dir int, base string, data []byte, m Meta) error {
	fd, err := unix.Openat(dir, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := writeAll(fd, data); err != nil {
		return err
	}
	return t.setMeta(fd, m)
}

func (t *Tree) setMeta(fd int, m Meta) error {
	if err := t.chown(fd, "", m.UID, m.GID); err != nil {
		return err
	}
	return unix.Fchmod(fd, m.Mode&0o7777) // after chown, which clears setuid
}

// SetMeta gives the regular file name another mode and owner.
func (t *Tree) SetMeta(name string, m Meta) error {
	return t.at(name, func(dir int, base string) error {
		fd, err := unix.Openat(dir, base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return t.setMeta(fd, m)
	})
}

// chown gives an owner to a name in a directory, or to the open file itself if name is empty.
func (t *Tree) chown(dir int, name string, uid, gid int) error {
	if t.keep != nil {
		return t.keep.Set(dir, name, uint32(uid), uint32(gid))
	}
	if name == "" {
		return unix.Fchown(dir, uid, gid)
	}
	return unix.Fchownat(dir, name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func readFull(f *os.File, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := f.Read(b[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// MkdirAll makes a directory and its missing parents; those that exist, links
// to directories among them, are left as they are.
func (t *Tree) MkdirAll(name string, m Meta) error {
	name = path.Clean("/" + name)
	if name == "/" {
		return nil
	}
	if fd, err := t.openDir(name); err == nil {
		return unix.Close(fd)
	}
	if err := t.MkdirAll(path.Dir(name), m); err != nil {
		return err
	}
	return t.at(name, func(dir int, base string) error {
		err := unix.Mkdirat(dir, base, 0o700)
		if err != nil && err != unix.EEXIST {
			return err
		}
		fd, err2 := unix.Openat(dir, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err2 != nil {
			return err2
		}
		defer unix.Close(fd)
		if err == unix.EEXIST {
			return nil
		}
		return t.setMeta(fd, m)
	})
}

// Symlink makes a link of root's and reports whether it did: a name that
// exists is left alone.
func (t *Tree) Symlink(target, name string) (created bool, err error) {
	err = t.at(name, func(dir int, base string) error {
		err := unix.Symlinkat(target, dir, base)
		if err == unix.EEXIST {
			return nil
		}
		if err != nil {
			return err
		}
		created = true
		return t.chown(dir, base, 0, 0)
	})
	return created, err
}

// Lstat returns name's own metadata.
func (t *Tree) Lstat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := t.at(name, func(dir int, base string) error {
		err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil && t.keep != nil {
			st.Uid, st.Gid, _ = t.keep.Of(dir, base)
		}
		return err
	})
	return st, err
}

// Exists reports whether name is there, a dangling link included.
func (t *Tree) Exists(name string) bool {
	_, err := t.Lstat(name)
	return err == nil
}

// IsDir reports whether name is a directory, links inside the tree followed.
func (t *Tree) IsDir(name string) bool {
	fd, err := t.openDir(name)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// Remove removes a name that is not a directory. One that is not there is no
// error.
func (t *Tree) Remove(name string) error {
	err := t.at(name, func(dir int, base string) error {
		return unix.Unlinkat(dir, base, 0)
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// Rename renames within the tree.
func (t *Tree) Rename(from, to string) error {
	return t.at(from, func(fdir int, fbase string) error {
		return t.at(to, func(tdir int, tbase string) error {
			return unix.Renameat(fdir, fbase, tdir, tbase)
		})
	})
}

// KeepTime calls f, which changes what is in the directory dir, and puts dir's mtime back.
func (t *Tree) KeepTime(dir string, f func() error) error {
	fd, err := t.openDir(dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	err = f()
	if e := unix.UtimesNanoAt(fd, ".", []unix.Timespec{st.Atim, st.Mtim}, 0); e != nil && err == nil {
		err = &os.PathError{Op: "set the time of", Path: dir, Err: e}
	}
	return err
}

// DirEntry is one name in a directory.
type DirEntry struct {
	Name  string
	IsDir bool
}

// ReadDir lists a directory, links to it followed, sorted by name.
func (t *Tree) ReadDir(name string) ([]DirEntry, error) {
	fd, err := t.openDir(name)
	if err != nil {
		return nil, err
	}
	return readDir(fd, name)
}

// readDir lists and closes fd.
func readDir(fd int, name string) ([]DirEntry, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	all, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	out := make([]DirEntry, len(all))
	for i, e := range all {
		out[i] = DirEntry{e.Name(), e.IsDir()}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}
