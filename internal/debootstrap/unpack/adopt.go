package unpack

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Adopt tells the tree that paths in it came from a package that is installed already, so that a package that ships one
// of them is judged as if both had been unpacked here. dst gives the paths that are diverted.
func (t *Tree) Adopt(pkg string, paths []string, dst map[string]string) error {
	dirs := newDirs(t)
	defer dirs.close()
	for _, p := range paths {
		at := p
		if d, ok := dst[p]; ok {
			at = d
		}
		parent, base := split(at)
		if base == "" || base == "." {
			continue
		}
		d, err := dirs.get(parent)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue // gone since
		}
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			continue
		}
		who := owner{pkg: pkg, path: p}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			continue
		case unix.S_IFLNK:
			target := make([]byte, 4096)
			n, err := unix.Readlinkat(d.fd, base, target)
			if err != nil {
				return err
			}
			who.link = string(target[:n])
		}
		t.owners.set(node{d.ino, base}, who)
	}
	return nil
}
