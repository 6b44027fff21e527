package runner

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// An Inside is this program running again as root of a user namespace, where an ordinary user has the rights that
// containers and builds need: over the ids of a UserMap, and mounts that nobody else sees.
//
//	this process                        the other
//	------------                        ---------
//	clone(user, mnt) ----------------> die with the parent
//	newuidmap, newgidmap ------------> become root inside
//	                                   own program, as a mount that cannot be written through
//	read {step, errno} or end <------- execve (the error pipe closes on exec)
//	relay signals -------------------> a byte each on descriptor InsideFD
//	wait
//
// A process of a container could otherwise write to this program's file, which belongs to the same user.
type Inside struct {
	pid, pidfd int
	sock       int
}

// InsideFD is the other process's end of the socket: a byte for each signal, end of file if this process is gone.
const InsideFD = 3

// EnterError says why there is no user namespace for this user.
type EnterError struct {
	Step string
	Err  error
	next string
}

func (e *EnterError) Error() string { return "make a user namespace: " + e.Step + ": " + e.Err.Error() }
func (e *EnterError) Unwrap() error { return e.Err }

// Hint is the next step for the user.
func (e *EnterError) Hint() string { return e.next }

// MapError is a map with ranges that newuidmap or newgidmap refused to write. The user's own id would do.
type MapError struct{ Program, Said string }

func (e *MapError) Error() string { return e.Program + ": " + e.Said }

// Enter starts this program with argv and env as root of a new user namespace with a map. The caller stays locked to
// its thread (runtime.LockOSThread) until Wait, because the other process dies with that thread.
func Enter(m *UserMap, argv, env []string) (*Inside, error) {
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, enterError("socketpair", err)
	}
	defer unix.Close(sp[1])
	in := &Inside{sock: sp[0], pidfd: -1}
	if err := in.start(m, sp[1], argv, env); err != nil {
		in.abandon()
		return nil, err
	}
	return in, nil
}

func (in *Inside) start(m *UserMap, theirs int, argv, env []string) error {
	self, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return enterError("open /proc/self/exe", err)
	}
	defer unix.Close(self)
	name, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return enterError("find the program", err)
	}
	var ep [2]int
	if err := unix.Pipe2(ep[:], unix.O_CLOEXEC); err != nil {
		return enterError("pipe2", err)
	}
	defer unix.Close(ep[0])
	// Out of the way of the numbers that the other process starts with.
	var high [3]int
	for i, fd := range []int{theirs, self, ep[1]} {
		if high[i], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 16); err != nil {
			return enterError("fcntl", err)
		}
	}
	defer func() {
		for _, fd := range high {
			unix.Close(fd)
		}
	}()
	unix.Close(ep[1])
	t := enterTable(high[0], high[1], name, argv, env)
	var pidfd int32
	pid, errno := forkTable(t.calls, t.mem, unix.CLONE_NEWUSER|unix.CLONE_NEWNS|unix.CLONE_PIDFD, &pidfd, uintptr(high[2]))
	runtime.KeepAlive(t)
	if errno != 0 {
		return enterError("clone", errno)
	}
	in.pid, in.pidfd = int(pid), int(pidfd)
	if err := m.write(in.pid); err != nil {
		return err
	}
	if err := unix.Sendmsg(in.sock, []byte{'u'}, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return enterError("sendmsg", err)
	}
	unix.Close(high[2])
	high[2] = -1
	var b [8]byte
	n, err := readFull(ep[0], b[:])
	if err != nil {
		return enterError("read", err)
	}
	if n == len(b) {
		step, errno := int(binary.NativeEndian.Uint32(b[:])), syscall.Errno(binary.NativeEndian.Uint32(b[4:]))
		return enterError(t.name[min(step, len(t.name)-1)], errno)
	}
	return nil
}

// enterTable is what the other process does before it is this program again.
func enterTable(sock, self int, name string, argv, env []string) *table {
	const tree slot = 1
	t := newTable(64)
	die := func() { t.add("prctl", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0) }
	die()
	t.add("recvmsg", unix.SYS_RECVMSG, sock, t.message(1).addr, unix.MSG_CMSG_CLOEXEC).expect(1)
	t.add("setresgid", unix.SYS_SETRESGID, 0, 0, 0)
	t.add("setresuid", unix.SYS_SETRESUID, 0, 0, 0)
	die() // the change of ids has cleared it
	empty := t.str("")
	// The first call that needs a right: where only that is denied (AppArmor), it is known here.
	t.add("mount", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_SLAVE, 0)
	// By name, for a mount of another namespace cannot be cloned. A program that was replaced meanwhile is run as it is.
	t.mem.slot[tree] = uintptr(self)
	t.add("open_tree", unix.SYS_OPEN_TREE, at, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC).to(tree).ignore().skip(1)
	a := hold(t, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE})
	t.add("mount_setattr", unix.SYS_MOUNT_SETATTR, tree, empty, unix.AT_EMPTY_PATH, a, unix.MOUNT_ATTR_SIZE_VER0)
	t.add("dup3", unix.SYS_DUP3, sock, InsideFD, 0)
	// Nothing else of this process goes over; what is still needed here is closed by execve.
	t.add("close_range", unix.SYS_CLOSE_RANGE, InsideFD+1, uint64(^uint32(0)), unix.CLOSE_RANGE_CLOEXEC)
	t.add("execveat", unix.SYS_EXECVEAT, tree, empty, t.vector(argv), t.vector(env), unix.AT_EMPTY_PATH)
	return t
}

// write writes the maps of a process: its creator may map one id, newuidmap what the administrator grants.
func (m *UserMap) write(pid int) error {
	if m.Single() {
		if err := writeProc(procPath(pid, "setgroups"), "deny"); err != nil && !errors.Is(err, unix.ENOENT) {
			return enterError("write setgroups", err)
		}
		err := writeMaps(pid, idMaps{fmt.Sprintf("0 %d 1", m.UID), fmt.Sprintf("0 %d 1", m.GID)})
		if err != nil {
			return enterError("write", err)
		}
		return nil
	}
	if m.own {
		if err := writeMaps(pid, idMaps{fmt.Sprintf("0 0 %d", m.UIDs[0].Size+1), fmt.Sprintf("0 0 %d", m.GIDs[0].Size+1)}); err != nil {
			return &MapError{"uid_map", err.Error()}
		}
		return nil
	}
	// Side by side: each is a program that looks up the user, and neither needs what the other writes.
	uids, err := startMapper(m.NewUIDMap, pid, m.UID, m.UIDs)
	if err != nil {
		return err
	}
	gids, err := startMapper(m.NewGIDMap, pid, m.GID, m.GIDs)
	if err != nil {
		_ = uids.wait()
		return err
	}
	return cmp.Or(uids.wait(), gids.wait())
}

// A mapper is newuidmap or newgidmap at work. os/exec would start threads for it, and a process to try out the kernel.
type mapper struct {
	program string
	pid     int
	said    *os.File
}

// startMapper has the program write a map of the user's own id and ranges.
func startMapper(program string, pid int, id uint32, ranges []IDRange) (*mapper, error) {
	args := []string{program, strconv.Itoa(pid), "0", fmt.Sprint(id), "1"}
	at := uint64(1)
	for _, r := range ranges {
		args = append(args, fmt.Sprint(at), fmt.Sprint(r.Base), fmt.Sprint(r.Size))
		at += uint64(r.Size)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, enterError("open /dev/null", err)
	}
	defer null.Close()
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return nil, enterError("pipe2", err)
	}
	x := &mapper{program: program, said: os.NewFile(uintptr(p[0]), "pipe")}
	x.pid, err = syscall.ForkExec(program, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{null.Fd(), uintptr(p[1]), uintptr(p[1])}})
	unix.Close(p[1])
	if err != nil {
		x.said.Close()
		return nil, &MapError{program, err.Error()}
	}
	return x, nil
}

// wait waits for its end and says what it said if it wrote no map.
func (x *mapper) wait() error {
	out, err := io.ReadAll(io.LimitReader(x.said, 1<<16))
	x.said.Close()
	ws := reap(x.pid)
	if err == nil && ws.Exited() && ws.ExitStatus() == 0 {
		return nil
	}
	said := strings.TrimSpace(string(out))
	switch {
	case said != "":
	case ws.Signaled():
		said = "ended by signal " + strconv.Itoa(int(ws.Signal()))
	default:
		said = "exit status " + strconv.Itoa(ws.ExitStatus())
	}
	return &MapError{x.program, said}
}

// Signal tells the other process of a signal that this one got.
func (in *Inside) Signal(s syscall.Signal) {
	// An error means that it has ended.
	_ = unix.Sendmsg(in.sock, []byte{byte(s)}, nil, nil, unix.MSG_NOSIGNAL)
}

// Wait waits for its end.
func (in *Inside) Wait() unix.WaitStatus {
	ws := reap(in.pid)
	unix.Close(in.pidfd)
	unix.Close(in.sock)
	return ws
}

func (in *Inside) abandon() {
	if in.pid != 0 {
		_ = unix.PidfdSendSignal(in.pidfd, unix.SIGKILL, nil, 0) // fails only if it is gone
		reap(in.pid)
		unix.Close(in.pidfd)
	}
	unix.Close(in.sock)
}

func enterError(step string, err error) error {
	e := &EnterError{Step: step, Err: err}
	var no syscall.Errno
	if !errors.As(err, &no) {
		return e
	}
	switch no {
	case unix.EPERM, unix.EACCES:
		e.next = namespaceHint(sysctl("kernel/unprivileged_userns_clone"), sysctl("kernel/apparmor_restrict_unprivileged_userns"))
	case unix.ENOSPC:
		e.next = "sudo sysctl user.max_user_namespaces=15000 (it is " + sysctl("user/max_user_namespaces") + "), or run rootctl with sudo"
	case unix.ENOSYS: // of a filter, as a rule
		e.next = namespaceHint("", "")
	case unix.EINVAL:
		e.next = "this kernel lacks user namespaces, or mount_setattr of Linux 5.12; run rootctl with sudo"
	}
	return e
}

// namespaceHint explains EPERM by what distributions set to forbid user namespaces to ordinary users.
func namespaceHint(clone, apparmor string) string {
	switch {
	case clone == "0":
		return "sudo sysctl kernel.unprivileged_userns_clone=1, or run rootctl with sudo"
	case apparmor == "1":
		return apparmorHint
	}
	return forbidden + outerHint()
}

// forbidden begins the hint where no setting of this machine is known to be the cause.
const forbidden = "user namespaces are forbidden here; "

func sysctl(name string) string {
	b, _ := os.ReadFile("/proc/sys/" + name) // one that is not there says nothing
	return strings.TrimSpace(string(b))
}
