package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keeperName is argv[0] of the keeper's second half, which Main knows.
const keeperName = "rootctl-keeper"

// Guard is a keeper: a process that holds the locks of a Keep and removes its paths if the host process dies first.
type Guard struct {
	keep Keep
	pid  int
	sock int
}

// StartGuard forks a keeper for work that has no container of its own, such as a build's temporary folder. Close ends it.
func StartGuard(keep Keep) (*Guard, error) {
	op := Op{Host: true, Verb: VerbKeeper}
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, stepError(op, "socketpair", err)
	}
	defer unix.Close(sp[1])
	self, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(sp[0])
		return nil, stepError(op, "open", fmt.Errorf("/proc/self/exe: %w", err))
	}
	defer unix.Close(self)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(sp[0])
		return nil, stepError(op, "open", fmt.Errorf("/dev/null: %w", err))
	}
	defer unix.Close(null)
	t := keeperTable(keep, sp[1], self, null)
	pid, errno := forkTable(t.calls, t.mem, 0, nil, ^uintptr(0))
	runtime.KeepAlive(t)
	runtime.KeepAlive(keep.Locks)
	runtime.KeepAlive(keep.Space)
	if errno != 0 {
		unix.Close(sp[0])
		return nil, stepError(op, "clone", errno)
	}
	return &Guard{keep: keep, pid: int(pid), sock: sp[0]}, nil
}

// Slots of the keeper's table.
const (
	keepN   slot = iota + 1 // bytes received
	keepMsg                 // the byte
	keepFD                  // pidfd of the init
)

// keeperTable is the keeper's life:
//
//	wait for a message: end of file -> clean; goodbye -> exit; pidfd -> take it
//	wait for a message: goodbye -> exit
//	kill the init
//	clean: execute our own program, which waits for the init and removes the paths
//
// It holds nothing but the locks, its socket, its own program and perhaps a namespace.
func keeperTable(keep Keep, sock, self, null int) *table {
	t := newTable(64)
	locks := make([]int, len(keep.Locks))
	for i, f := range keep.Locks {
		locks[i] = int(f.Fd())
	}
	space, held := "", locks
	if keep.Space != nil {
		held = append(slices.Clone(locks), int(keep.Space.Fd()))
		space = strconv.Itoa(int(keep.Space.Fd()))
	}
	all := ^uint64(0)
	t.add("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, hold(t, &all), 0, 8).ignore()
	t.add("setsid", unix.SYS_SETSID).ignore()
	for i := range 3 {
		t.add("dup3", unix.SYS_DUP3, null, i, 0)
	}
	open := append([]int{sock, self}, held...)
	slices.Sort(open)
	t.closeAllBut(slices.Compact(open)...)
	t.add("chdir", unix.SYS_CHDIR, "/").ignore()
	t.add("prctl", unix.SYS_PRCTL, unix.PR_SET_NAME, keeperName, 0, 0, 0).ignore()

	m := t.message(1)
	t.add("recvmsg", unix.SYS_RECVMSG, sock, m.addr, unix.MSG_CMSG_CLOEXEC).to(keepN)
	lonely := t.branch(keepN, 0, 0)
	t.loadByte(m.data, keepMsg)
	bye1 := t.branch(keepMsg, msgBye, 0)
	t.load(m.fd(0), keepFD)
	m2 := t.message(1)
	t.add("recvmsg", unix.SYS_RECVMSG, sock, m2.addr, unix.MSG_CMSG_CLOEXEC).to(keepN)
	t.loadByte(m2.data, keepMsg)
	bye2 := t.branch(keepMsg, msgBye, 0)

	if keep.Chroot == "" { // else it is killed last
		t.add("pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, keepFD, int(unix.SIGKILL), 0, 0).ignore()
	}
	t.add("dup3", unix.SYS_DUP3, keepFD, sock, 0) // the pidfd keeps the socket's number, which is known here
	t.calls[lonely].jump = uint16(t.here())
	numbers := make([]string, len(locks))
	for i, fd := range held {
		t.add("fcntl", unix.SYS_FCNTL, fd, unix.F_SETFD, 0)
		if i < len(locks) {
			numbers[i] = strconv.Itoa(fd)
		}
	}
	t.add("fcntl", unix.SYS_FCNTL, sock, unix.F_SETFD, 0)
	argv := []string{keeperName, strconv.Itoa(sock), strings.Join(numbers, ","), space, strconv.Itoa(len(keep.After)), strconv.Itoa(len(keep.Cgroups)), keep.Chroot}
	argv = slices.Concat(argv, keep.After, keep.Cgroups, keep.Remove)
	t.add("execveat", unix.SYS_EXECVEAT, self, "", t.vector(argv), t.vector([]string{"GOMAXPROCS=2"}), unix.AT_EMPTY_PATH).ignore()

	t.calls[bye1].jump, t.calls[bye2].jump = uint16(t.here()), uint16(t.here())
	t.add("exit_group", unix.SYS_EXIT_GROUP, 0)
	return t
}

// Messages to the keeper: the pidfd of an init, and goodbye.
const (
	msgInit = 'i'
	msgBye  = 'b'
)

// watch tells the keeper which process to kill.
func (g *Guard) watch(pidfd int) error {
	err := unix.Sendmsg(g.sock, []byte{msgInit}, unix.UnixRights(pidfd), nil, unix.MSG_NOSIGNAL)
	return stepError(Op{Host: true, Verb: VerbKeeper}, "sendmsg", err)
}

// Close removes the paths of the Keep and ends the keeper. The locks are then held by their own files alone.
func (g *Guard) Close() error {
	err := RemoveGroups(g.keep.Cgroups)
	err = errors.Join(err, removePaths(context.Background(), g.keep.Remove))
	// A keeper that was killed has nothing left to be told.
	if e := unix.Sendmsg(g.sock, []byte{msgBye}, nil, nil, unix.MSG_NOSIGNAL); e != nil && e != unix.EPIPE && e != unix.ECONNRESET {
		err = errors.Join(err, fmt.Errorf("end the keeper: %w", e))
	}
	unix.Close(g.sock)
	reap(g.pid) // here: not every container that we run in has an init that does it for orphans
	return err
}

// reap waits for the end of a child and takes note of it.
func reap(pid int) unix.WaitStatus {
	var ws unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != unix.EINTR {
			return ws
		}
	}
}

// Main carries out what this package re-executes the program for and says whether it did; the program's own main must
// call it before anything else and return if it did.
func Main(args []string) bool {
	if len(args) < 7 || args[0] != keeperName {
		return false
	}
	if fd, err := strconv.Atoi(args[1]); err == nil {
		if pid, e := pidOf(fd); e == nil && args[6] != "" {
			EndChroot(pid, fd, args[6])
		}
		awaitEnd(fd)
	}
	if fd, err := strconv.Atoi(args[3]); err == nil {
		space := os.NewFile(uintptr(fd), "namespace")
		endOthers(space)
		space.Close()
	}
	// Nobody is left to tell. What could not be removed is found by the next sweep of the cache.
	after, err := strconv.Atoi(args[4])
	groups, e := strconv.Atoi(args[5])
	rest := args[7:]
	if err != nil || e != nil || after < 0 || groups < 0 || len(rest) < after+groups {
		return true
	}
	_ = RemoveGroups(rest[after : after+groups])
	_ = removePaths(context.Background(), rest[after+groups:])
	if after > 0 {
		_ = unix.Exec("/proc/self/exe", rest[:after], []string{"GOMAXPROCS=2"})
	}
	return true
}

// awaitEnd waits until the process of a pidfd has ended; a socket (there was no container yet) has ended already.
func awaitEnd(fd int) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err != syscall.EINTR {
			return
		}
	}
}
