package upper

import (
	"encoding/binary"
	"fmt"
	"maps"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

func entryType(kind uint16) (byte, bool) {
	switch kind {
	case unix.S_IFREG:
		return snapshot.TypeFile, true
	case unix.S_IFLNK:
		return snapshot.TypeSymlink, true
	case unix.S_IFIFO:
		return snapshot.TypeFifo, true
	case unix.S_IFCHR:
		return snapshot.TypeChar, true
	case unix.S_IFBLK:
		return snapshot.TypeBlock, true
	}
	return 0, false
}

// entry is what every kind of file has.
func (r *reader) entry(f *file, typ byte, attrs map[string]string) (snapshot.Entry, error) {
	e := snapshot.Entry{Path: f.path, Type: typ, Mode: uint32(f.st.Mode) & 0o7777, MTime: max(f.st.Mtime.Sec, 0), Xattrs: attrs}
	if r.copy.SingleID {
		if old := r.old(f.path); old != nil && (old.Type == typ || old.Type == snapshot.TypeHardlink && typ == snapshot.TypeFile) {
			e.UID, e.GID = old.UID, old.GID
		}
		return e, nil
	}
	var ok1, ok2 bool
	e.UID, ok1 = r.id(f.st.Uid)
	e.GID, ok2 = r.id(f.st.Gid)
	if !ok1 || !ok2 {
		return e, &OwnerError{Path: "/" + f.path, UID: f.st.Uid, GID: f.st.Gid}
	}
	return e, nil
}

// id is the container's name of a host's id.
func (r *reader) id(host uint32) (uint32, bool) {
	if r.copy.Size == 0 {
		return host, true
	}
	return host - r.copy.Base, host >= r.copy.Base && host-r.copy.Base < r.copy.Size
}

// detail adds what is particular to the type.
func (r *reader) detail(f *file, e *snapshot.Entry) error {
	switch e.Type {
	case snapshot.TypeSymlink:
		n, err := unix.Readlinkat(f.dir, f.name, r.buf)
		if err != nil {
			return fmt.Errorf("%s: read link: %w", f.path, err)
		}
		e.Link, e.Mode = string(r.buf[:n]), 0o777
	case snapshot.TypeChar, snapshot.TypeBlock:
		e.Major, e.Minor = f.st.Rdev_major, f.st.Rdev_minor
	case snapshot.TypeFile:
		e.Size = int64(f.st.Size)
	}
	if f.st.Nlink < 2 || e.Type != snapshot.TypeFile && e.Type != snapshot.TypeSymlink {
		return nil
	}
	inode := [3]uint64{uint64(f.st.Dev_major), uint64(f.st.Dev_minor), f.st.Ino}
	if first, ok := r.links[inode]; ok {
		e.Type, e.Link, e.Size, e.Xattrs = snapshot.TypeHardlink, first, 0, nil
		return nil
	}
	r.links[inode] = f.path
	return nil
}

// attributes reads the overlay's marks, by the rest of their names, and what a root keeps, with the container's ids.
func (r *reader) attributes(fd int, p string) (marks, attrs map[string]string, err error) {
	n, err := unix.Flistxattr(fd, r.buf)
	if err == unix.ENOTSUP || err == nil && n == 0 {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: list attributes: %w", p, err)
	}
	marks = map[string]string{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(r.buf[:n]), "\x00"), "\x00") {
		mark, isMark := strings.CutPrefix(name, r.marks)
		if !isMark && !snapshot.KeepXattr(name) {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, r.buf)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: read attribute %s: %w", p, name, err)
		}
		value := string(r.buf[:n])
		if isMark {
			if mark == "metacopy" || mark == "redirect" {
				return nil, nil, &MarkError{Path: "/" + p, Mark: name}
			}
			marks[mark] = value
			continue
		}
		if value, ok := r.inner(name, value); ok {
			if attrs == nil {
				attrs = map[string]string{}
			}
			attrs[name] = value
		}
	}
	return marks, attrs, nil
}

// inner is an attribute's value as the container sees it; false if it has no meaning there.
func (r *reader) inner(name, value string) (string, bool) {
	switch name {
	case "security.capability":
		// vfs_ns_cap_data: revision 3 ends in the id of the root of the namespace that it holds in.
		if len(value) == 24 && value[3] == 3 && r.copy.Size != 0 && binary.LittleEndian.Uint32([]byte(value[20:])) != r.copy.Base {
			return "", false
		}
		return snapshot.CanonicalXattr(name, value), true
	case "system.posix_acl_access", "system.posix_acl_default":
		return r.innerACL(value), true
	}
	return value, true
}

// innerACL gives a list's users and groups (tags 2 and 8) the container's ids.
func (r *reader) innerACL(value string) string {
	b := []byte(value)
	if len(b) < 4 || (len(b)-4)%8 != 0 {
		return value
	}
	for e := b[4:]; len(e) > 0; e = e[8:] {
		tag := binary.LittleEndian.Uint16(e)
		if tag != 2 && tag != 8 {
			continue
		}
		id, ok := r.id(binary.LittleEndian.Uint32(e[4:]))
		if !ok {
			id = ^uint32(0)
		}
		binary.LittleEndian.PutUint32(e[4:], id)
	}
	return string(b)
}

func sameAttrs(a, b map[string]string) bool { return maps.Equal(a, b) }
