package runner

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// idShift turns the ids of a root's files into a container's, where the kernel cannot do that on the fly, or back.
// What is shifted already stays as it is, so a file with two names may be met twice.
type idShift struct {
	root owner // whom on the host root of the container is
	IDRange
	back bool
}

func (s *idShift) id(id, root uint32) uint32 {
	switch in := id >= s.Base && id-s.Base < s.Size; {
	case s.Size == 0:
		return id
	case s.back && id == root:
		return 0
	case s.back && in:
		return id - s.Base
	case s.back || in || id == root:
		return id
	case id == 0:
		return root
	case id < s.Size:
		return s.Base + id
	}
	return s.Base + min(65534, s.Size-1) // it has no place in the block
}

func (s *idShift) owner(st *unix.Stat_t) owner {
	return owner{s.id(st.Uid, s.root.uid), s.id(st.Gid, s.root.gid)}
}

// xattr gives the value that an attribute has after the shift. File capabilities count only in the user namespace whose
// root they name (version 3), and access lists hold ids.
func (s *idShift) xattr(name string, v []byte) []byte {
	le := binary.LittleEndian
	switch {
	case s.Size == 0:
	case name == "security.capability" && len(v) == 20 && !s.back: // version 2
		v = le.AppendUint32(append([]byte(nil), v...), s.root.uid)
		le.PutUint32(v, 3<<24|le.Uint32(v)&0xff_ffff)
	case name == "security.capability" && len(v) == 24 && s.back && le.Uint32(v[20:]) == s.root.uid:
		v = append([]byte(nil), v[:20]...)
		le.PutUint32(v, 2<<24|le.Uint32(v)&0xff_ffff)
	case (name == "system.posix_acl_access" || name == "system.posix_acl_default") && len(v) >= 4:
		v = append([]byte(nil), v...)
		for e := v[4:]; len(e) >= 8; e = e[8:] {
			switch le.Uint16(e) {
			case 2: // ACL_USER
				le.PutUint32(e[4:], s.id(le.Uint32(e[4:]), s.root.uid))
			case 8: // ACL_GROUP
				le.PutUint32(e[4:], s.id(le.Uint32(e[4:]), s.root.gid))
			}
		}
	}
	return v
}

// attrs reads the attributes of what an O_PATH descriptor stands for that a shift or a copy has to care about.
func attrs(fd int) (map[string][]byte, error) {
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	names := make([]byte, 1<<16)
	n, err := unix.Listxattr(path, names)
	if err != nil || n == 0 {
		if err == unix.ENOTSUP || err == unix.EPERM {
			err = nil
		}
		return nil, err
	}
	all := map[string][]byte{}
	value := make([]byte, 1<<16)
	for _, name := range splitNUL(names[:n]) {
		m, err := unix.Getxattr(path, name, value)
		if err != nil {
			return nil, err
		}
		all[name] = append([]byte(nil), value[:m]...)
	}
	return all, nil
}

func splitNUL(b []byte) []string {
	var list []string
	for from, i := 0, 0; i < len(b); i++ {
		if b[i] == 0 {
			list = append(list, string(b[from:i]))
			from = i + 1
		}
	}
	return list
}

// ShiftTree gives a tree that is in nobody's use the owners it has for a container with these ids, in place, or back: for
// directories on file systems that cannot be idmapped. No link is followed. Modes and attributes stay.
func ShiftTree(dir string, ids IDRange, back bool) error {
	s := idShift{root: owner{ids.Base, ids.Base}, IDRange: ids, back: back}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("shift owners: open %s: %w", dir, err)
	}
	defer unix.Close(fd)
	if err := s.tree(fd, 0); err != nil {
		return fmt.Errorf("shift owners of %s: %w", dir, err)
	}
	return nil
}

// CopyShifted copies a tree to an empty folder, with the owners that it has for a container with these ids. It shares
// blocks where the file system can.
func CopyShifted(from, to string, ids IDRange) error {
	t := treeCopy{shift: idShift{root: owner{ids.Base, ids.Base}, IDRange: ids}, links: map[[2]uint64]string{}}
	src, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	defer unix.Close(src)
	if t.top, err = unix.Open(to, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("copy to %s: %w", to, err)
	}
	defer unix.Close(t.top)
	if err := t.dir(src, t.top, "", 0); err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

// CanMapIDs says, by its looks, whether layers of an overlay on the file system of dir can be idmapped: not where that
// is overlay itself, and not before Linux 5.19.
func CanMapIDs(dir string) bool {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil && st.Type == overlayMagic {
		return false
	}
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return true
	}
	var major, minor int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); n != 2 {
		return true
	}
	return major > 5 || major == 5 && minor >= 19
}

// tree shifts what an O_PATH descriptor stands for and all below it.
func (s *idShift) tree(fd, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := s.one(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if depth > maxNesting {
		return errNested
	}
	names, err := namesIn(fd)
	if err != nil {
		return err
	}
	for _, n := range names {
		sub, err := unix.Openat(fd, n, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", n, err)
		}
		err = s.tree(sub, depth+1)
		unix.Close(sub)
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	return nil
}

// one shifts one file. A change of owners takes set-id bits and capabilities, which come back after it.
func (s *idShift) one(fd int, st *unix.Stat_t) error {
	var all map[string][]byte
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFREG || kind == unix.S_IFDIR {
		var err error
		if all, err = attrs(fd); err != nil {
			return err
		}
	}
	to := s.owner(st)
	if to.uid == st.Uid && to.gid == st.Gid {
		return nil
	}
	if err := unix.Fchownat(fd, "", int(to.uid), int(to.gid), unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	if st.Mode&0o6000 != 0 && kind != unix.S_IFLNK {
		if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
			return err
		}
	}
	for name, v := range all {
		if name != "security.capability" && name != "system.posix_acl_access" && name != "system.posix_acl_default" {
			continue
		}
		if err := unix.Setxattr(path, name, s.xattr(name, v), 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// maxNesting bounds the directories that a copy or a shift has open; 4096 bytes of a path hold no deeper one that counts.
const maxNesting = 400

var errNested = errors.New("directories are nested too deeply")
