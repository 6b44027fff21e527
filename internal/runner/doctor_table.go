package runner

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// trial is a throw-away child in namespaces of its own that makes some system calls and ends.
type trial struct {
	flags uintptr
	users *UserMap // written if flags hold CLONE_NEWUSER
	calls func(l *lowering)
	// while, if set, is called while the child waits, its maps written.
	while func(pid int) error
}

// callError is the system call of a trial that was refused.
type callError struct {
	call string
	err  error
}

func (e *callError) Error() string { return e.call + ": " + e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

// run makes the child and says what it was refused.
func (tr trial) run() error {
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return &callError{"socketpair", err}
	}
	defer unix.Close(sp[0])
	theirs := sp[1]
	defer func() { unix.Close(theirs) }()
	var ep [2]int
	if err := unix.Pipe2(ep[:], unix.O_CLOEXEC); err != nil {
		return &callError{"pipe2", err}
	}
	defer unix.Close(ep[0])
	t := newTable(64)
	t.add("close", unix.SYS_CLOSE, sp[0])
	t.add("prctl", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0)
	t.add("recvmsg", unix.SYS_RECVMSG, theirs, t.message(1).addr, unix.MSG_CMSG_CLOEXEC).expect(1)
	if tr.calls != nil {
		l := &lowering{table: t, spec: &Spec{}, empty: t.str("")}
		tr.calls(l)
	}
	if t.err != nil {
		unix.Close(ep[1])
		return t.err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, errno := forkTable(t.calls, t.mem, tr.flags, nil, uintptr(ep[1]))
	runtime.KeepAlive(t)
	unix.Close(ep[1])
	if errno != 0 {
		return &callError{"clone", errno}
	}
	defer reap(int(pid))
	if err := tr.release(int(pid), sp[0]); err != nil {
		unix.Kill(int(pid), unix.SIGKILL) // our child, not yet reaped
		return err
	}
	var b [8]byte
	n, err := readFull(ep[0], b[:])
	if err != nil || n < len(b) {
		return err
	}
	step := min(int(binary.NativeEndian.Uint32(b[:])), len(t.name)-1)
	return &callError{t.name[step], syscall.Errno(binary.NativeEndian.Uint32(b[4:]))}
}

func (tr trial) release(pid, sock int) error {
	if tr.flags&unix.CLONE_NEWUSER != 0 && tr.users != nil {
		if err := tr.users.write(pid); err != nil {
			return err
		}
	}
	if tr.while != nil {
		if err := tr.while(pid); err != nil {
			return err
		}
	}
	if err := unix.Sendmsg(sock, []byte{'u'}, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("tell the child: %w", err)
	}
	return nil
}
