package runner

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// table is a program for interpret under construction. All memory that its calls point to is kept by it: it must live
// until the fork has happened.
type table struct {
	calls []call
	name  []string // of each call, for errors
	op    []int    // operation of the plan that each call belongs to
	cur   int      // operation being lowered
	keep  []any
	chunk []byte
	mem   *memory
	err   error
}

func newTable(size int) *table {
	return &table{calls: make([]call, 0, size), name: make([]string, 0, size), op: make([]int, 0, size), mem: &memory{}}
}

// bytes returns n zeroed bytes that neither move nor go away.
func (t *table) bytes(n int) []byte {
	n = (n + 7) &^ 7 // keep what follows aligned
	if len(t.chunk) < n {
		t.chunk = make([]byte, max(n, 8192))
		t.keep = append(t.keep, t.chunk)
	}
	b := t.chunk[:n:n]
	t.chunk = t.chunk[n:]
	return b
}

func (t *table) str(s string) uintptr {
	b := t.bytes(len(s) + 1)
	copy(b, s)
	return uintptr(unsafe.Pointer(&b[0]))
}

func (t *table) vector(list []string) uintptr {
	v := make([]uintptr, len(list)+1)
	for i, s := range list {
		v[i] = t.str(s)
	}
	t.keep = append(t.keep, v)
	return uintptr(unsafe.Pointer(&v[0]))
}

// hold keeps a structure that p points to and returns its address.
func hold[T any](t *table, p *T) uintptr {
	t.keep = append(t.keep, p)
	return uintptr(unsafe.Pointer(p))
}

// add appends a system call. Arguments are int (negative ones too), uint64, uintptr, string (its address) or slot.
func (t *table) add(name string, nr uintptr, args ...any) *call {
	c := call{nr: nr}
	for i, a := range args {
		switch v := a.(type) {
		case int:
			c.arg[i] = uintptr(v)
		case uint64:
			c.arg[i] = uintptr(v)
		case uintptr:
			c.arg[i] = v
		case string:
			c.arg[i] = t.str(v)
		case slot:
			c.arg[i], c.ref = uintptr(v), c.ref|1<<i
		default:
			t.err = fmt.Errorf("lower %s: argument %d is a %T", name, i, a)
		}
	}
	return t.push(name, c)
}

func (t *table) push(name string, c call) *call {
	t.calls = append(t.calls, c)
	t.name = append(t.name, name)
	t.op = append(t.op, t.cur)
	return &t.calls[len(t.calls)-1]
}

func (c *call) to(s slot) *call                   { c.out = s; return c }
func (c *call) tolerate(e ...syscall.Errno) *call { copy(c.ok[:], e); return c }
func (c *call) ignore() *call                     { c.anyOK = true; return c }
func (c *call) skip(n int) *call                  { c.jump = uint16(n); return c }
func (c *call) expect(n int) *call                { c.check, c.want = true, uintptr(n); return c }

// again is for openat2, which gives EAGAIN when a mount elsewhere changed during the look-up.
func (c *call) again() *call { c.tries = 4096; return c }

// spins is how often await asks for a message before it sleeps: for about a tenth of a millisecond.
const spins = 400

// await takes a message of one byte. Who sleeps on a socket is woken on the processor of the sender, which the sender
// then has to do without until another processor takes notice; so the process stays awake for as long as it waits as a rule.
func (t *table) await(sock int, m message) {
	t.add("recvmsg", unix.SYS_RECVMSG, sock, m.addr, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT).expect(1).tolerate(unix.EAGAIN)
	c := &t.calls[len(t.calls)-1]
	c.then, c.tries = 1, spins
	t.add("recvmsg", unix.SYS_RECVMSG, sock, m.addr, unix.MSG_CMSG_CLOEXEC).expect(1)
}

// here is the number of the next call.
func (t *table) here() int { return len(t.calls) }

// branch goes to call number to if the slot holds value. The target may be set later.
func (t *table) branch(s slot, value uintptr, to int) int {
	t.push("branch", call{kind: kindIf, out: s, value: value, jump: uint16(to)})
	return len(t.calls) - 1
}

func (t *table) close(s slot) { t.add("close", unix.SYS_CLOSE, s) }

// message is a buffer for one sendmsg or recvmsg with room for descriptors.
type message struct {
	data []byte
	fds  []byte // the descriptors inside the control message
	addr uintptr
}

func (t *table) message(fds int) message { return t.messageOf(1, fds) }

// messageOf is a message of at most eight bytes.
func (t *table) messageOf(size, fds int) message {
	data, ctl := t.bytes(8), t.bytes(unix.CmsgSpace(4*fds))
	ctl = ctl[:unix.CmsgSpace(4*fds)]
	iov := &unix.Iovec{Base: &data[0]}
	iov.SetLen(size)
	mh := &unix.Msghdr{Iov: iov, Control: &ctl[0]}
	mh.Iovlen = 1
	mh.SetControllen(len(ctl))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
	h.Level, h.Type = unix.SOL_SOCKET, unix.SCM_RIGHTS
	h.SetLen(unix.CmsgLen(4 * fds))
	t.keep = append(t.keep, iov, mh)
	return message{data: data, fds: ctl[unix.CmsgLen(0):], addr: uintptr(unsafe.Pointer(mh))}
}

// fd is the place of descriptor i in the message.
func (m message) fd(i int) *int32 { return (*int32)(unsafe.Pointer(&m.fds[4*i])) }

func (t *table) load(p *int32, s slot)  { t.push("load", call{kind: kindLoad, p: p, out: s}) }
func (t *table) store(s slot, p *int32) { t.push("store", call{kind: kindStore, p: p, out: s}) }

// loadByte puts the first byte of a received message in a slot; the rest of its word is zero.
func (t *table) loadByte(b []byte, s slot) { t.load((*int32)(unsafe.Pointer(&b[0])), s) }

// closeAllBut closes every descriptor from 3 on that is not in keep (sorted).
func (t *table) closeAllBut(keep ...int) {
	from := 3
	for _, k := range keep {
		if k > from {
			t.add("close_range", unix.SYS_CLOSE_RANGE, from, k-1, 0)
		}
		from = max(from, k+1)
	}
	t.add("close_range", unix.SYS_CLOSE_RANGE, from, uint64(^uint32(0)), 0)
}
