package runner

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Owners keeps who owns what where the disk cannot: for a user with a single id. A file is told by an open descriptor
// (O_PATH) and an empty name.
type Owners interface {
	Set(fd int, name string, uid, gid uint32) error
	Of(fd int, name string) (uid, gid uint32, ok bool)
	SetXattr(fd int, name, attr string, value []byte) error
}

// clerk answers the system calls by which a container's processes change owners and ask for them.
//
//	chown and its kin ----> written into Owners; the file loses setuid bits and capabilities, as it would
//	stat and its kin -----> the true answer with the recorded owner, or the kernel's own if there is none
//	setxattr and its kin -> access control lists with ids that are not there: written into Owners
type clerk struct {
	owners   Owners
	listener int
	root     int // the container's
	quit     [2]int
	done     chan struct{}
}

// takeOwners receives the filter's listener from the init and starts to answer.
func (c *container) takeOwners() error {
	op := c.plan.find(VerbOwners)
	fd, err := receiveFD(c.sock)
	if err != nil {
		return stepError(op, "recvmsg", err)
	}
	root, err := unix.Open(procPath(c.pid, "root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(fd)
		return stepError(op, "open", err)
	}
	k := &clerk{owners: c.opts.Owners, listener: fd, root: root, done: make(chan struct{})}
	if err := unix.Pipe2(k.quit[:], unix.O_CLOEXEC); err != nil {
		unix.Close(root)
		unix.Close(fd)
		return stepError(op, "pipe2", err)
	}
	// Both sides on one processor (Linux 6.6): less than half the time. Without it the answers are the same.
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), notifSetFlags, 1)
	c.clerk = k
	go k.serve()
	return nil
}

func (k *clerk) finish() {
	unix.Close(k.quit[1])
	<-k.done
	unix.Close(k.quit[0])
	unix.Close(k.listener)
	unix.Close(k.root)
}

// notification and answer are struct seccomp_notif and seccomp_notif_resp.
type notification struct {
	id    uint64
	pid   uint32
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

type answer struct {
	id    uint64
	val   int64
	errno int32
	flags uint32
}

const (
	notifRecv     = 0xc0502100 // _IOWR('!', 0, struct seccomp_notif)
	notifSend     = 0xc0182101 // _IOWR('!', 1, struct seccomp_notif_resp)
	notifSetFlags = 0x40082104 // _IOW('!', 4, __u64)
	goOn          = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

func (k *clerk) serve() {
	defer close(k.done)
	for {
		p := []unix.PollFd{{Fd: int32(k.listener), Events: unix.POLLIN}, {Fd: int32(k.quit[0]), Events: unix.POLLIN}}
		if _, err := unix.Poll(p, -1); err != nil && err != unix.EINTR {
			return
		}
		if p[0].Revents&unix.POLLIN == 0 {
			if p[0].Revents != 0 || p[1].Revents != 0 {
				return // all its processes have ended
			}
			continue
		}
		n := &notification{}
		if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(k.listener), notifRecv, uintptr(unsafe.Pointer(n))); e != 0 {
			continue // it was killed meanwhile
		}
		a := &answer{id: n.id}
		handled, err := k.answer(n)
		switch {
		case err != 0:
			a.errno = -int32(err)
		case !handled:
			a.flags = goOn
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(k.listener), notifSend, uintptr(unsafe.Pointer(a))) // or it was killed
	}
}

// request is a call in terms of the most general of its kin.
type request struct {
	pid      int
	dir      int32
	path     uint64 // address; 0 stands for an empty path
	follow   bool
	uid, gid uint32 // chown
	mask     uint64 // statx
	to       uint64 // address of the answer to stat
	sync     uint64 // flags of statx beside those about the path
	i386     bool   // the answer to stat is a struct stat64
}

func (k *clerk) answer(n *notification) (handled bool, err unix.Errno) {
	a := n.args
	r := request{pid: int(n.pid), dir: unix.AT_FDCWD}
	if n.arch == unix.AUDIT_ARCH_I386 {
		return k.answerI386(n, &r)
	}
	at := func(dir, path, flags uint64) {
		r.dir, r.path, r.follow = int32(dir), path, flags&unix.AT_SYMLINK_NOFOLLOW == 0
	}
	nr := uint32(n.nr) &^ 0x40000000 // x32 calls are the native ones with a bit set
	switch nr {
	case sysChown, sysLchown:
		r.path, r.follow, r.uid, r.gid = a[0], nr == sysChown, uint32(a[1]), uint32(a[2])
		return k.chown(&r)
	case unix.SYS_FCHOWN:
		r.dir, r.uid, r.gid = int32(a[0]), uint32(a[1]), uint32(a[2])
		return k.chown(&r)
	case unix.SYS_FCHOWNAT:
		at(a[0], a[1], a[4])
		r.uid, r.gid = uint32(a[2]), uint32(a[3])
		return k.chown(&r)
	case sysStat, sysLstat:
		r.path, r.follow, r.to = a[0], nr == sysStat, a[1]
		return k.stat(&r)
	case unix.SYS_FSTAT:
		r.dir, r.to = int32(a[0]), a[1]
		return k.stat(&r)
	case sysFstatat:
		at(a[0], a[1], a[3])
		r.to = a[2]
		return k.stat(&r)
	case unix.SYS_SETXATTR, unix.SYS_LSETXATTR:
		r.path, r.follow = a[0], nr == unix.SYS_SETXATTR
		return k.setxattr(&r, a[1], a[2], a[3])
	case unix.SYS_FSETXATTR:
		r.dir = int32(a[0])
		return k.setxattr(&r, a[1], a[2], a[3])
	case unix.SYS_STATX:
		at(a[0], a[1], a[2])
		r.mask, r.to, r.sync = a[3], a[4], a[2]&(unix.AT_STATX_FORCE_SYNC|unix.AT_STATX_DONT_SYNC)
		return k.statx(&r)
	}
	return false, 0
}

func (k *clerk) chown(r *request) (bool, unix.Errno) {
	fd, ok := k.open(r)
	if !ok {
		return false, 0 // the kernel says what is wrong
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, 0
	}
	uid, gid, known := k.owners.Of(fd, "")
	if !known {
		uid, gid = st.Uid, st.Gid
	}
	const same = ^uint32(0)
	if r.uid != same {
		uid = r.uid
	}
	if r.gid != same {
		gid = r.gid
	}
	if err := k.owners.Set(fd, "", uid, gid); err != nil {
		return false, unix.EIO
	}
	// To the ids that it has: that takes away what a change of owners takes away.
	_ = unix.Fchownat(fd, "", -1, -1, unix.AT_EMPTY_PATH)
	return true, 0
}

func (k *clerk) stat(r *request) (bool, unix.Errno) {
	fd, ok := k.open(r)
	if !ok {
		return false, 0
	}
	defer unix.Close(fd)
	uid, gid, ok := k.owners.Of(fd, "")
	if !ok || uid == 0 && gid == 0 {
		return false, 0
	}
	st := &unix.Stat_t{}
	if err := unix.Fstat(fd, st); err != nil {
		return false, 0
	}
	if r.i386 {
		return k.write(r, i386StatOf(st, uid, gid))
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(st)), int(unsafe.Sizeof(*st)))
	*(*uint32)(unsafe.Pointer(&b[uidInStat])), *(*uint32)(unsafe.Pointer(&b[uidInStat+4])) = uid, gid
	return k.write(r, b)
}

func (k *clerk) statx(r *request) (bool, unix.Errno) {
	fd, ok := k.open(r)
	if !ok {
		return false, 0
	}
	defer unix.Close(fd)
	uid, gid, ok := k.owners.Of(fd, "")
	if !ok || uid == 0 && gid == 0 {
		return false, 0
	}
	st := &unix.Statx_t{}
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|int(r.sync), int(r.mask), st); err != nil {
		return false, 0
	}
	st.Uid, st.Gid = uid, gid
	return k.write(r, unsafe.Slice((*byte)(unsafe.Pointer(st)), int(unsafe.Sizeof(*st))))
}
