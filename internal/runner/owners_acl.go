package runner

import (
	"encoding/binary"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel takes no access control list with an id that has no place in the namespace. Those lists are recorded like
// owners, and the file gets the mode that the list stands for.

// setxattr is fsetxattr and its kin: the attribute's name, its value and the value's length follow the file.
func (k *clerk) setxattr(r *request, name, value, size uint64) (bool, unix.Errno) {
	attr, ok := readString(r.pid, name)
	if !ok || !strings.HasPrefix(attr, "system.posix_acl_") || size > 1<<16 || size < 4 {
		return false, 0
	}
	b := make([]byte, size)
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMReadv(r.pid, local, []unix.RemoteIovec{{Base: uintptr(value), Len: len(b)}}, 0)
	if err != nil || n != len(b) {
		return false, 0
	}
	mode, ids, ok := aclMode(b)
	if !ok || !ids {
		return false, 0 // the kernel takes it, or says what is wrong
	}
	fd, ok := k.open(r)
	if !ok {
		return false, 0
	}
	defer unix.Close(fd)
	if err := k.owners.SetXattr(fd, "", attr, b); err != nil {
		return false, unix.EIO
	}
	if attr != "system.posix_acl_access" {
		return true, 0
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, unix.EIO
	}
	// An O_PATH descriptor is changed through its link.
	if err := unix.Chmod(fdPath(unix.Getpid(), strconv.Itoa(fd)), st.Mode&0o7000|mode); err != nil {
		return false, unix.EIO
	}
	return true, 0
}

// aclMode reads an attribute of version 2: entries of tag, permissions and id. It gives the mode that it stands for, and
// whether it names ids other than 0.
func aclMode(b []byte) (mode uint32, ids, ok bool) {
	const (
		userObj, user, groupObj, group, mask, other = 1, 2, 4, 8, 16, 32
	)
	le := binary.LittleEndian
	if len(b) < 4 || le.Uint32(b) != 2 || (len(b)-4)%8 != 0 {
		return 0, false, false
	}
	masked := false
	for e := b[4:]; len(e) > 0; e = e[8:] {
		perm := uint32(le.Uint16(e[2:])) & 7
		switch le.Uint16(e) {
		case userObj:
			mode |= perm << 6
		case groupObj:
			if !masked {
				mode |= perm << 3
			}
		case mask:
			mode, masked = mode&^0o70|perm<<3, true
		case other:
			mode |= perm
		case user, group:
			ids = ids || le.Uint32(e[4:]) != 0
		default:
			return 0, false, false
		}
	}
	return mode, ids, true
}
