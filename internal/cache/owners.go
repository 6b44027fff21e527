package cache

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Foreign reports whether the tree shows owners that this process's user namespace has no ids for: it was made by the
// same user with id ranges, and is now used without.
func (l *Lease) Foreign() bool {
	return l.anyWitness(func(st *unix.Stat_t) bool { return st.Gid == overflowID })
}

// Flat reports whether all of the tree seems to belong to 0:0, as it does when a user without id ranges made it.
func (l *Lease) Flat() bool {
	return l.anyWitness(func(st *unix.Stat_t) bool { return st.Uid == 0 && st.Gid == 0 })
}

const overflowID = 65534 // what an id without a place shows as, unless the administrator changed it

func (l *Lease) anyWitness(is func(*unix.Stat_t) bool) bool {
	// These have a group of their own in nearly every root.
	for _, name := range [...]string{"etc/shadow", "var/mail"} {
		var st unix.Stat_t
		if unix.Lstat(l.Tree+"/"+name, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK && is(&st) {
			return true
		}
	}
	return false
}

// RestoreOwners gives the files of a flat tree the owners that the manifest has, and back what a change of owners takes:
// setuid bits and capabilities. Contents and times stay, so it does no harm to a running copy, or when done twice.
func (l *Lease) RestoreOwners() error {
	m, err := l.Manifest()
	if err != nil {
		return err
	}
	tree, err := unix.Open(l.Tree, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("restore owners: %w", err)
	}
	defer unix.Close(tree)
	for i := range m.Entries {
		e := &m.Entries[i]
		if e.Type == snapshot.TypeHardlink || e.UID == 0 && e.GID == 0 {
			continue
		}
		if err := restoreOwner(tree, e); err != nil {
			return fmt.Errorf("restore owners: %s: %w", e.Path, err)
		}
	}
	return nil
}

func restoreOwner(tree int, e *Entry) error {
	dir, name := path.Split(e.Path)
	if dir == "" {
		dir = "."
	}
	parent, err := unix.Openat2(tree, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	var st unix.Stat_t
	if err := unix.Fstatat(parent, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if err == unix.ENOENT { // a device, which only the manifest has
			return nil
		}
		return err
	}
	if st.Uid == e.UID && st.Gid == e.GID {
		return nil
	}
	if err := unix.Fchownat(parent, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if e.Type != snapshot.TypeFile && e.Type != snapshot.TypeDir {
		return nil
	}
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Fchmod(fd, e.Mode); err != nil {
		return err
	}
	if c, ok := e.Xattrs["security.capability"]; ok {
		return unix.Fsetxattr(fd, "security.capability", []byte(c), 0)
	}
	return nil
}
