package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// tempSuffix marks a file that waits for Settle.
const tempSuffix = ".rootctl"

// capabilityRecord is the one extended attribute a package may carry.
const (
	capabilityName   = "security.capability"
	capabilityRecord = "SCHILY.xattr." + capabilityName
)

// place is where a member's inode is to appear.
type place struct {
	d      *dir
	parent string
	name   string
	fresh  bool // the claim was the first: whatever is there belongs to no package
}

// throughOwnLink refuses a member below a symbolic link of its own package: the
// way out of a tree that every unpacker has had to learn of. Links of others
// (bin -> usr/bin, base-files' /var/run) are followed, inside the tree.
func (w *writer) throughOwnLink(p string) error {
	if len(w.links) == 0 {
		return nil
	}
	var err error
	parents(p, func(dir string) bool {
		if w.checked[dir] {
			return false
		}
		if w.links[dir] {
			err = fmt.Errorf("%s is a symbolic link of the same package", dir)
			return false
		}
		return true
	})
	if err == nil && p != "/" {
		dir, _ := split(p)
		w.checked[dir] = true
	}
	return err
}

// parent opens the directory a member goes into. Packages list directories
// before their content; one that does not gets the missing ones as dpkg makes
// them, root's and 0755.
func (w *writer) parent(name string) (*dir, error) {
	d, err := w.dirs.get(name)
	if errors.Is(err, unix.ENOENT) {
		if err := w.t.seedLazily(name); err != nil {
			return nil, err
		}
		if err := w.t.MkdirAll(name, Meta{Mode: 0o755}); err != nil {
			return nil, err
		}
		return w.dirs.get(name)
	}
	return d, err
}

// dir makes a directory, or accepts the one, or the link to one, that is there.
// Its owner, mode and time wait for ApplyDirs.
func (w *writer) dir(m *member) error {
	e := Dir{Path: m.dst, Meta: m.meta, MTime: m.mtime}
	if w.links[m.dst] {
		return errors.New("a symbolic link of the same package has that name")
	}
	if err := w.throughOwnLink(m.dst); err != nil {
		return err
	}
	if m.dst != "/" && !w.t.owners.isDir(m.dst) {
		if err := w.t.seedLazily(m.dst); err != nil {
			return err
		}
		parent, base := split(m.dst)
		d, err := w.parent(parent)
		if err != nil {
			return err
		}
		err = unix.Mkdirat(d.fd, base, 0o755)
		switch {
		case err == nil:
			e.Created = true
		case err == unix.EEXIST:
			_, err := w.dirs.get(m.dst)
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) {
				return err
			}
			if err != nil {
				return fmt.Errorf("something else than a directory is there: %w", err)
			}
		default:
			return err
		}
		w.t.owners.addDir(m.dst)
	}
	w.res.Dirs = append(w.res.Dirs, e)
	return nil
}

// keepDir reports whether a directory stands where a link would go: dpkg keeps
// the directory.
func (w *writer) keepDir(d *dir, base string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return false, nil
	}
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

func (w *writer) make(tr *tar.Reader, m *member, at place) error {
	w.wrote[m.path] = at.parent + "/" + at.name
	switch m.Typeflag {
	case tar.TypeReg:
		return w.regular(tr, m, at)
	case tar.TypeSymlink:
		return w.symlink(m, at)
	case tar.TypeLink:
		return w.hardlink(m, at)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return w.node(m, at)
	}
	return fmt.Errorf("member type %q is not one dpkg knows", m.Typeflag)
}

// exclusive calls f, which makes at.name and fails if it exists, and once more
// after removing a leftover that is no package's (a maintainer script's).
func exclusive(at place, f func() error) error {
	err := f()
	if err != unix.EEXIST || !at.fresh {
		return err
	}
	if err := unix.Unlinkat(at.d.fd, at.name, 0); err != nil {
		return fmt.Errorf("remove what is in the way: %w", err)
	}
	return f()
}

func (w *writer) regular(tr *tar.Reader, m *member, at place) error {
	if w.bytes -= m.Size; m.Size < 0 || w.bytes < 0 {
		return &TooBig{"bytes", orDefault(w.p.Limits.Bytes, defaultBytes)}
	}
	w.res.Bytes += m.Size
	fd := -1
	err := exclusive(at, func() (err error) {
		fd, err = unix.Openat(at.d.fd, at.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	h := w.hashing(m)
	for left := m.Size; left > 0; {
		b := w.buf[:min(left, int64(len(w.buf)))]
		if _, err := io.ReadFull(tr, b); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if h != nil {
			h.Write(b)
		}
		if err := writeAll(fd, b); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		left -= int64(len(b))
	}
	if h != nil {
		w.addHash(m.path, h)
	}
	return w.finish(fd, m, at)
}

// finish sets a regular file's metadata: chown, then what chown clears (setuid,
// capabilities), then the time.
func (w *writer) finish(fd int, m *member, at place) error {
	if err := w.t.setMeta(fd, m.meta); err != nil {
		return err
	}
	if c, ok := m.PAXRecords[capabilityRecord]; ok {
		if len(c) > 64 {
			return errors.New("capability attribute is too long")
		}
		if err := unix.Fsetxattr(fd, capabilityName, []byte(c), 0); err != nil {
			return fmt.Errorf("set capabilities: %w", err)
		}
	}
	return setTime(at.d.fd, at.name, m.mtime)
}

func setTime(dir int, name string, sec int64) error {
	ts := []unix.Timespec{unix.NsecToTimespec(sec * 1e9), unix.NsecToTimespec(sec * 1e9)}
	return unix.UtimesNanoAt(dir, name, ts, unix.AT_SYMLINK_NOFOLLOW)
}

func (w *writer) symlink(m *member, at place) error {
	if m.Linkname == "" || len(m.Linkname) > maxPath {
		return errors.New("link target is empty or too long")
	}
	err := exclusive(at, func() error { return unix.Symlinkat(m.Linkname, at.d.fd, at.name) })
	if err != nil {
		return err
	}
	w.link(m.dst)
	if err := w.t.chown(at.d.fd, at.name, m.meta.UID, m.meta.GID); err != nil {
		return err
	}
	return setTime(at.d.fd, at.name, m.mtime)
}

// link notes that the package has a symbolic link at p.
func (w *writer) link(p string) {
	w.links[p] = true
	clear(w.checked)
	w.res.Links = append(w.res.Links, p)
}

// hardlink links to a file of the same package: one that lies elsewhere is not
// the package's to give a second name.
func (w *writer) hardlink(m *member, at place) error {
	target, err := clean(m.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", m.Linkname, err)
	}
	real, ok := w.wrote[target]
	if !ok {
		return fmt.Errorf("hard link to %q, which is no earlier file of the package", m.Linkname)
	}
	if real == "" {
		return fmt.Errorf("hard link to %q, which another package has taken over", m.Linkname)
	}
	parent, base := split(filepath.Clean(real))
	td, err := w.dirs.get(parent)
	if err != nil {
		return err
	}
	err = exclusive(at, func() error { return unix.Linkat(td.fd, base, at.d.fd, at.name, 0) })
	if err != nil {
		return err
	}
	if w.links[filepath.Clean(real)] { // a second name for a symbolic link
		w.link(m.dst)
	}
	if s, ok := w.hashes[target]; ok && w.p.HashAll {
		w.hashes[m.path] = s
		w.res.Hashes = append(w.res.Hashes, Hash{m.path, s})
	}
	return nil
}

// node records a device or fifo. The tree holds none: a build needs no right to
// make them, and whoever reads the cache meets no live device there.
func (w *writer) node(m *member, at place) error {
	delete(w.wrote, m.path)
	dir, err := w.t.where(at.d.fd)
	if err != nil {
		return err
	}
	n := Node{Path: filepath.Join(dir, at.name), Meta: m.meta, MTime: m.mtime}
	switch m.Typeflag {
	case tar.TypeChar:
		n.Type = 'c'
	case tar.TypeBlock:
		n.Type = 'b'
	default:
		n.Type = 'p'
	}
	if n.Type != 'p' {
		if m.Devmajor < 0 || m.Devminor < 0 || m.Devmajor >= 1<<12 || m.Devminor >= 1<<20 {
			return fmt.Errorf("device %d:%d is not one Linux has", m.Devmajor, m.Devminor)
		}
		n.Major, n.Minor = uint32(m.Devmajor), uint32(m.Devminor)
	}
	w.res.Nodes = append(w.res.Nodes, n)
	return nil
}

// where is the absolute path inside the tree of an open directory.
func (t *Tree) where(fd int) (string, error) {
	here, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", err
	}
	top, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(t.fd))
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(top, here)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%s is not below %s", here, top)
	}
	return filepath.Join("/", rel), nil
}
