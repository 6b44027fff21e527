package runner

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Programs of i386 on amd64 have calls and a struct stat of their own.
const (
	i386Stat, i386Lstat, i386Fstat, i386Fstatat, i386Statx = 195, 196, 197, 300, 383
	i386Lchown, i386Fchown, i386Chown, i386Fchownat        = 198, 207, 212, 298
	i386Setxattr, i386Lsetxattr, i386Fsetxattr             = 226, 227, 228
)

func (k *clerk) answerI386(n *notification, r *request) (handled bool, err unix.Errno) {
	a := n.args
	r.i386 = true
	switch n.nr {
	case i386Chown, i386Lchown:
		r.path, r.follow, r.uid, r.gid = a[0], n.nr == i386Chown, uint32(a[1]), uint32(a[2])
		return k.chown(r)
	case i386Fchown:
		r.dir, r.uid, r.gid = int32(a[0]), uint32(a[1]), uint32(a[2])
		return k.chown(r)
	case i386Fchownat:
		r.dir, r.path, r.follow = int32(a[0]), a[1], a[4]&unix.AT_SYMLINK_NOFOLLOW == 0
		r.uid, r.gid = uint32(a[2]), uint32(a[3])
		return k.chown(r)
	case i386Stat, i386Lstat:
		r.path, r.follow, r.to = a[0], n.nr == i386Stat, a[1]
		return k.stat(r)
	case i386Fstat:
		r.dir, r.to = int32(a[0]), a[1]
		return k.stat(r)
	case i386Fstatat:
		r.dir, r.path, r.follow, r.to = int32(a[0]), a[1], a[3]&unix.AT_SYMLINK_NOFOLLOW == 0, a[2]
		return k.stat(r)
	case i386Setxattr, i386Lsetxattr:
		r.path, r.follow = a[0], n.nr == i386Setxattr
		return k.setxattr(r, a[1], a[2], a[3])
	case i386Fsetxattr:
		r.dir = int32(a[0])
		return k.setxattr(r, a[1], a[2], a[3])
	case i386Statx:
		r.dir, r.path, r.follow = int32(a[0]), a[1], a[2]&unix.AT_SYMLINK_NOFOLLOW == 0
		r.mask, r.to, r.sync = a[3], a[4], a[2]&(unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC)
		return k.statx(r)
	}
	return false, 0
}

// i386StatOf is struct stat64 of arch/x86/include/uapi/asm/stat.h, which is packed.
func i386StatOf(st *unix.Stat_t, uid, gid uint32) []byte {
	b := make([]byte, 96)
	le := binary.LittleEndian
	le.PutUint64(b[0:], uint64(st.Dev))
	le.PutUint32(b[12:], uint32(st.Ino))
	le.PutUint32(b[16:], st.Mode)
	le.PutUint32(b[20:], uint32(st.Nlink))
	le.PutUint32(b[24:], uid)
	le.PutUint32(b[28:], gid)
	le.PutUint64(b[32:], uint64(st.Rdev))
	le.PutUint64(b[44:], uint64(st.Size))
	le.PutUint32(b[52:], uint32(st.Blksize))
	le.PutUint64(b[56:], uint64(st.Blocks))
	for i, t := range []unix.Timespec{st.Atim, st.Mtim, st.Ctim} {
		le.PutUint32(b[64+8*i:], uint32(t.Sec))
		le.PutUint32(b[68+8*i:], uint32(t.Nsec))
	}
	le.PutUint64(b[88:], st.Ino)
	return b
}
