package runner

import (
	"syscall"
	"unsafe"
)

// The runtime's own hooks around fork. Go promises their signatures to users of linkname.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// slot names a result kept between the calls of a table. uint8 indexes an array of 256 without a bounds check.
type slot uint8

// kind says what the interpreter does with a call.
type kind uint8

const (
	kindCall   kind = iota // a system call
	kindLoad               // slot[out] = *p
	kindStore              // *p = slot[out]
	kindIf                 // if slot[out] == value, go to call number jump
	kindExec               // execve that goes on if the file is not there (arg 0 is its path)
	kindFail               // report slot[out] as the error
	kindSame               // if slot[out] == slot[value], go to call number jump
	kindNegate             // slot[out] = -slot[value]
	kindAdd                // slot[out] += value
)

// call is one step of a table.
type call struct {
	nr    uintptr
	arg   [6]uintptr
	p     *int32
	value uintptr
	want  uintptr          // with check: the only good result
	ok    [2]syscall.Errno // errors that are no errors
	then  uint16           // kindCall: how many calls to leave out after success
	jump  uint16           // kindIf: where to; kindCall: how many calls to leave out after an error named in ok
	ref   uint8            // bit i: arg[i] is a slot
	out   slot             // slot 0 is never read
	kind  kind
	anyOK bool // every error is fine
	check bool
	told  bool   // an error that is none is reported all the same
	tries uint16 // how often EAGAIN is tried again
}

// memory is what the child writes to: its own copy of it after the fork.
type memory struct {
	slot [256]uintptr
	rec  [2]uint32 // step and errno, for the error pipe
}

const at = ^uintptr(99) // AT_FDCWD

// toldBit marks the report of a step that failed and was got over.
const toldBit = 1 << 30

// forkTable clones the calling thread with the given flags; the child interprets calls, reports a failed one on errfd
// and exits with 125. The parent gets the pid. pidfd is written if flags hold CLONE_PIDFD.
//
// clone's first three arguments (flags, stack, parent_tid) have the same order on amd64 and arm64; the rest is unused.
//
//go:norace
//go:noinline
func forkTable(calls []call, m *memory, flags uintptr, pidfd *int32, errfd uintptr) (uintptr, syscall.Errno) {
	syscall.ForkLock.Lock()
	beforeFork()
	pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, flags|uintptr(syscall.SIGCHLD), 0, uintptr(unsafe.Pointer(pidfd)), 0, 0, 0)
	if errno != 0 || pid != 0 {
		afterFork()
		syscall.ForkLock.Unlock()
		return pid, errno
	}
	afterForkInChild()
	interpret(calls, m, errfd)
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 125, 0, 0)
	}
}

// interpret runs in the forked child: no allocation, no stack growth, no locks, no write barriers.
//
//go:nosplit
//go:norace
func interpret(calls []call, m *memory, errfd uintptr) {
	for i := 0; i < len(calls); i++ {
		c := &calls[i]
		switch c.kind {
		case kindLoad:
			m.slot[c.out] = uintptr(*c.p)
			continue
		case kindStore:
			*c.p = int32(m.slot[c.out])
			continue
		case kindIf:
			if m.slot[c.out] == c.value {
				i = int(c.jump) - 1
			}
			continue
		case kindSame:
			if m.slot[c.out] == m.slot[uint8(c.value)] {
				i = int(c.jump) - 1
			}
			continue
		case kindNegate:
			m.slot[c.out] = -m.slot[uint8(c.value)]
			continue
		case kindAdd:
			m.slot[c.out] += c.value
			continue
		case kindFail:
			fail(m, i, syscall.Errno(m.slot[c.out]), errfd)
			return
		}
		var a [6]uintptr
		for j := range a {
			a[j] = c.arg[j]
			if c.ref&(1<<j) != 0 {
				a[j] = m.slot[uint8(a[j])]
			}
		}
		if c.kind == kindExec && absent(a[0]) {
			continue
		}
		r, _, e := syscall.RawSyscall6(c.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		for n := uint16(0); e == syscall.EAGAIN && n < c.tries; n++ {
			r, _, e = syscall.RawSyscall6(c.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		}
		for e == syscall.EINTR {
			r, _, e = syscall.RawSyscall6(c.nr, a[0], a[1], a[2], a[3], a[4], a[5])
		}
		if c.kind == kindExec {
			if !missing(m, c, a[0], e) {
				fail(m, i, e, errfd)
				return
			}
			continue
		}
		if e != 0 {
			if e == c.ok[0] || e == c.ok[1] || c.anyOK {
				if c.told {
					fail(m, i|toldBit, e, errfd)
				}
				i += int(c.jump)
				continue
			}
			fail(m, i, e, errfd)
			return
		}
		if c.check && r != c.want {
			fail(m, i, syscall.EPIPE, errfd)
			return
		}
		m.slot[c.out] = r
		i += int(c.then)
	}
}

// absent looks before the leap: an execve that fails costs ten times as much, and a search of PATH makes several.
//
//go:nosplit
//go:norace
func absent(path uintptr) bool {
	_, _, e := syscall.RawSyscall6(syscall.SYS_FACCESSAT, at, path, 0, 0, 0, 0)
	return e == syscall.ENOENT || e == syscall.ENOTDIR
}

// missing tells whether the search of PATH goes on after a failed execve, as execvp does: it does if there is no such
// file, or one that may not be executed, which is remembered. A file that is there but whose interpreter is not ends it.
//
//go:nosplit
//go:norace
func missing(m *memory, c *call, path uintptr, e syscall.Errno) bool {
	if e == syscall.EACCES {
		m.slot[c.out] = uintptr(e)
		return true
	}
	if e != syscall.ENOENT && e != syscall.ENOTDIR {
		return false
	}
	_, _, there := syscall.RawSyscall6(syscall.SYS_FACCESSAT, at, path, 0, 0, 0, 0)
	return there != 0
}

//go:nosplit
//go:norace
func fail(m *memory, step int, e syscall.Errno, errfd uintptr) {
	m.rec[0], m.rec[1] = uint32(step), uint32(e)
	syscall.RawSyscall(syscall.SYS_WRITE, errfd, uintptr(unsafe.Pointer(&m.rec)), 8)
}
