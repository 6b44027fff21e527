package cache

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Flat reports whether all of the tree seems to belong to 0:0, as it does when a user without id ranges made it.
func (l *Lease) Flat() bool {
	for _, w := range witnesses {
		var st unix.Stat_t
		if w.gid != 0 && unix.Lstat(l.Tree+"/"+w.name, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK && st.Uid == 0 && st.Gid == 0 {
			return true
		}
	}
	return false
}

const overflowID = 65534 // what an id without a place shows as, unless the administrator changed it

// A Fit says how the owners and modes of a tree on disk are related to its manifest, which is authoritative.
type Fit int

const (
	FitWhole   Fit = iota
	FitLost        // lost when it was copied (by tar or cp of an ordinary user), or made with one id; Restore helps
	FitForeign     // owners that this user namespace has no ids for: the user's id ranges have moved
)

// witnesses are in nearly every root, and have the same group or mode in all of Debian's and Ubuntu's.
var witnesses = [...]struct {
	name string
	gid  uint32 // 0: look at the mode
	mode uint32
}{{"etc/shadow", 42, 0}, {"var/mail", 8, 0}, {"tmp", 0, 0o1777}}

// Fit looks at a few witnesses, and into the manifest if one of them is odd. With a single id all is owned by 0:0, and
// only modes count.
func (l *Lease) Fit(single bool) (Fit, error) {
	odd := make(map[string]unix.Stat_t)
	for _, w := range witnesses {
		var st unix.Stat_t
		if unix.Lstat(l.Tree+"/"+w.name, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
			continue
		}
		switch {
		case st.Uid == overflowID || st.Gid == overflowID:
			return FitForeign, nil
		case w.gid == 0 && st.Mode&0o7777 != w.mode, w.gid != 0 && st.Gid != w.gid && !single:
			odd[w.name] = st
		}
	}
	if len(odd) == 0 {
		return FitWhole, nil
	}
	m, err := l.Manifest()
	if err != nil {
		return FitWhole, err
	}
	for i := range m.Entries {
		e := &m.Entries[i]
		if st, ok := odd[e.Path]; ok && (!single && (st.Uid != e.UID || st.Gid != e.GID) || st.Mode&0o7777 != e.Mode) {
			return FitLost, nil
		}
	}
	return FitWhole, nil
}

// Restore gives the files of a tree the modes, owners (unless there is a single id) and capabilities that the manifest
// has. Contents and times stay, so it does no harm to a running copy, or when done twice. EPERM is for owners without ids,
// ErrReadOnly for a cache that is not to be written to.
func (l *Lease) Restore(single bool) error {
	if l.s.readOnly {
		return ErrReadOnly
	}
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
		if e.Type == snapshot.TypeHardlink {
			continue
		}
		if err := restore(tree, e, !single); err != nil {
			return fmt.Errorf("restore owners: %s: %w", e.Path, l.s.fault(err))
		}
	}
	return nil
}

func restore(tree int, e *Entry, owners bool) error {
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
	mode := st.Mode & 0o7777
	if owners && (st.Uid != e.UID || st.Gid != e.GID) {
		if err := unix.Fchownat(parent, name, int(e.UID), int(e.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		mode = ^uint32(0) // a change of owners takes setuid bits
	}
	c, capable := e.Xattrs["security.capability"]
	if e.Type != snapshot.TypeFile && e.Type != snapshot.TypeDir || mode == e.Mode && !(capable && owners) {
		return nil
	}
	// By descriptor, so that nothing is followed.
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if mode != e.Mode {
		if err := unix.Fchmod(fd, e.Mode); err != nil {
			return err
		}
	}
	if capable && owners { // a change of owners takes it, too
		return unix.Fsetxattr(fd, "security.capability", []byte(c), 0)
	}
	return nil
}
