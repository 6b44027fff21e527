package runner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Process names the init of a running container so that no other process can be taken for it.
type Process struct {
	PID        int    `json:"pid"`
	StartTime  uint64 `json:"start_time"`            // clock ticks since boot: field 22 of /proc/PID/stat
	PidfdInode uint64 `json:"pidfd_inode,omitempty"` // unique until the next boot; 0 where the kernel gives none (before 6.9)
	// Cgroups are folders of control groups of its own; what joins is moved there before it executes anything.
	Cgroups []string `json:"cgroups,omitempty"`
}

// Target is a running container to join.
type Target struct {
	Process
	// Spec is that of its run: users, capabilities, filters and umask are the same for what joins it.
	Spec Spec
	// Lock is a file that the container's monitor holds by flock while the container lives; "" if there is none.
	Lock string
}

// Command is what to execute in a running container.
type Command struct {
	Argv    []string
	Env     []string
	Workdir string // "" means that of the run
	User    *Identity
	TTY     bool
}

// GoneError is a container that has ended, or whose process number belongs to another process by now.
type GoneError struct{ Why string }

func (e *GoneError) Error() string { return "the container is not running: " + e.Why }

// Hint is the next step for the user.
func (e *GoneError) Hint() string { return "rootctl ps lists what runs" }

// ProcessOf describes a process that is known to run.
func ProcessOf(pid, pidfd int) (Process, error) {
	start, err := startTime(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, StartTime: start, PidfdInode: pidfdInode(pidfd)}, nil
}

// pidfdInode is 0 where pidfds have no inodes of their own.
func pidfdInode(fd int) uint64 {
	const pidfsMagic = 0x50494446
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Fstatfs(fd, &fs) != nil || fs.Type != pidfsMagic || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

// startTime reads field 22 of /proc/PID/stat. The second field may hold any character.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, err
	}
	s := string(b)
	f := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(f) < 20 {
		return 0, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f)+2)
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// open gives a descriptor of the process, once it is certain that it is the right one.
func (t *Target) open() (int, error) {
	if t.Lock != "" {
		f, err := os.Open(t.Lock)
		if err != nil {
			return -1, &GoneError{"it is not known any more"}
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		f.Close()
		if err == nil {
			return -1, &GoneError{"nobody watches over it"}
		}
	}
	fd, err := unix.PidfdOpen(t.PID, 0)
	if err != nil {
		return -1, &GoneError{"it has ended"}
	}
	start, err := startTime(t.PID)
	inode := pidfdInode(fd)
	switch {
	case err != nil || unix.PidfdSendSignal(fd, 0, nil, 0) == unix.ESRCH:
		err = &GoneError{"it has ended"}
	case start != t.StartTime || t.PidfdInode != 0 && inode != t.PidfdInode:
		err = &GoneError{fmt.Sprintf("process %d is another one by now", t.PID)}
	default:
		return fd, nil
	}
	unix.Close(fd)
	return -1, err
}

const allNamespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// namespaces are the flags of the namespaces that the init of a container has and this process has not.
func (s *Spec) namespaces(pid int) (int, error) {
	if s.ownUsers() && s.ownNet() && len(s.Share) == 0 { // it has made all of them
		return allNamespaces, nil
	}
	flags := 0
	for _, n := range [...]struct {
		name string
		flag int
	}{{"user", unix.CLONE_NEWUSER}, {"mnt", unix.CLONE_NEWNS}, {"pid", unix.CLONE_NEWPID}, {"net", unix.CLONE_NEWNET},
		{"uts", unix.CLONE_NEWUTS}, {"ipc", unix.CLONE_NEWIPC}, {"cgroup", unix.CLONE_NEWCGROUP}} {
		var own, theirs unix.Stat_t
		if err := unix.Stat("/proc/self/ns/"+n.name, &own); err != nil {
			return 0, err
		}
		if err := unix.Stat(procPath(pid, "ns/"+n.name), &theirs); err != nil {
			return 0, err
		}
		if own.Ino != theirs.Ino {
			flags |= n.flag
		}
	}
	return flags, nil
}

// Exec runs a command in a running container and waits for its end. What the Status and the error mean is as for Run.
//
//	this process                        helper                            joined
//	------------                        ------                            ------
//	check pidfd, start time, lock
//	clone ---------------------------> die with the parent, undumpable
//	                                   setns(pidfd, what differs)
//	                                   clone(parent's child) ----------> undumpable again
//	take pid and pidfd <-------------- send them, be the keeper
//	move the pid into the cgroups
//	                                                                       ids 0, session, filters
//	answer --------------------------------------------------------------> go on, or end with the socket
//	                                                                       capabilities, execve
//
// With a terminal the answer is waited for first, and the terminal, one of the container's devpts, is taken behind it.
//
// It ends with the container, because its pid namespace does, and with this process, because of the keeper. Where the
// container shares the host's processes its root could kill that helper, so there the keeper is another process.
func Exec(ctx context.Context, target Target, cmd Command, o Options) (Status, error) {
	failed := Status{Code: 125}
	s := target.Spec.withDefaults()
	s.Argv, s.Env, s.TTY, s.User = cmd.Argv, cmd.Env, cmd.TTY, cmd.User
	s.Init, s.RecordOwners = false, false // those were the init's
	if cmd.Workdir != "" {
		s.Workdir = cmd.Workdir
	}
	switch {
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return failed, &SpecError{Problem: "no command", Fix: "name a command"}
	case !filepath.IsAbs(s.Workdir):
		return failed, &SpecError{Problem: fmt.Sprintf("working directory %q", s.Workdir), Fix: "use an absolute path"}
	}
	if err := s.noNUL(); err != nil {
		return failed, err
	}
	if err := s.checkUser(); err != nil {
		return failed, err
	}
	pidfd, err := target.open()
	if err != nil {
		return failed, err
	}
	defer unix.Close(pidfd)
	runtime.LockOSThread() // see Run
	defer runtime.UnlockOSThread()
	c := newContainer(&s, o, s.joinPlan())
	c.opts.Keep, c.opts.plain = nil, true
	c.tidied = make(chan struct{}) // there is nothing to tidy
	close(c.tidied)
	defer c.release()
	if err := c.join(ctx, target, pidfd); err != nil {
		c.abandon()
		var ce *CommandError
		if errors.As(err, &ce) {
			failed.Code = ce.Code
		} else if endedMeanwhile(pidfd, err) {
			err = &GoneError{"it ended meanwhile"}
		}
		return failed, errors.Join(err, c.finish())
	}
	st, err := c.wait()
	return st, errors.Join(err, c.finish())
}

// endedMeanwhile says whether an error comes from the container's end. An init that is ending has no namespaces any
// more, or takes no new processes, a moment before its pidfd tells.
func endedMeanwhile(pidfd int, err error) bool {
	var step *StepError
	if errors.As(err, &step) && step.Op.Verb == VerbJoin {
		var no syscall.Errno
		switch errors.As(err, &no); no {
		case unix.ENOENT, unix.ESRCH, unix.ENOMEM:
			return true
		}
	}
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 50)
	return n > 0
}

// joinPlan is what the joined process does: the end of the run's plan. It waits for this process as late as it can, which
// does its own part meanwhile: before it gives up capabilities, for a change of user would clear what mortal sets.
func (s *Spec) joinPlan() Plan {
	p := Plan{{Host: true, Verb: VerbClone}, {Host: true, Verb: VerbKeeper}, {Verb: VerbJoin}}
	if s.TTY {
		p = append(p, Op{Verb: VerbTerminal})
	}
	for _, o := range s.planEnd(nil) {
		if o.Verb == VerbCaps && !s.TTY {
			p = append(p, Op{Verb: VerbGo})
		}
		if o.Verb != VerbPivot && o.Verb != VerbSealRoot && o.Verb != VerbGo {
			p = append(p, o)
		}
	}
	return p
}

// join starts the command and returns when it has been executed.
func (c *container) join(ctx context.Context, target Target, pidfd int) error {
	op := c.plan.find(VerbJoin)
	flags, err := c.spec.namespaces(target.PID)
	if err != nil {
		return stepError(op, "stat", err)
	}
	stdio, err := c.stdio()
	if err != nil {
		return err
	}
	t, err := c.forkJoiner(stdio, pidfd, flags)
	if err != nil {
		return err
	}
	c.closeChildEnds()
	groups := target.Cgroups
	if len(groups) == 0 && c.spec.Limits != (Limits{}) {
		if groups, err = groupsOf(target.PID); err != nil {
			return stepError(op, "read", err)
		}
	}
	c.watchMemory(groups)
	c.watchJoined(target.PID)
	if err := c.takeJoined(); err != nil {
		if e := c.childError(t); e != nil {
			return e
		}
		return stepError(op, "recvmsg", err)
	}
	if c.keeper == nil {
		if c.keeper, err = StartGuard(Keep{}); err == nil {
			err = c.keeper.watch(c.pidfd)
		}
		if err != nil {
			return err
		}
	}
	for _, dir := range groups {
		if err := writeProc(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(c.pid)); err != nil {
			return c.blame(t, stepError(op, "write", fmt.Errorf("%s: %w", dir, err)))
		}
	}
	c.stop = newStopper(ctx, c.pid, c.pidfd, c.opts)
	if c.opts.Ready != nil {
		if err := c.opts.Ready(); err != nil {
			return c.blame(t, err)
		}
	}
	if err := unix.Sendmsg(c.sock, []byte{'j'}, nil, nil, unix.MSG_NOSIGNAL); err != nil {
		return c.blame(t, stepError(op, "sendmsg", err))
	}
	if c.spec.TTY {
		if err := c.takeTerminal(); err != nil {
			return c.blame(t, err)
		}
	}
	err = c.childError(t)
	runtime.KeepAlive(t)
	if err == nil && c.opts.Started != nil {
		err = c.opts.Started(Process{PID: c.pid})
	}
	return err
}

// forkJoiner forks the helper and leaves the socket and the pipe of the joined process open.
func (c *container) forkJoiner(stdio [3]int, pidfd, flags int) (*table, error) {
	op := c.plan.find(VerbJoin)
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, stepError(op, "socketpair", err)
	}
	c.sock = sp[0]
	defer unix.Close(sp[1])
	kp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, stepError(op, "socketpair", err)
	}
	defer unix.Close(kp[1])
	keeper := &Guard{sock: kp[0]}
	defer func() {
		if c.keeper != keeper {
			unix.Close(kp[0])
		}
	}()
	var ep [2]int
	if err := unix.Pipe2(ep[:], unix.O_CLOEXEC); err != nil {
		return nil, stepError(op, "pipe2", err)
	}
	c.errs = ep[0]
	defer unix.Close(ep[1])
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, stepError(op, "getrlimit", err)
	}
	fds := inherited{stdio: stdio, socket: sp[1], errors: ep[1], maxFiles: files.Max, target: pidfd, joins: flags}
	if !c.spec.shares("pid") {
		fds.keeper = kp[1]
	}
	t, err := c.spec.lowering(fds).all(c.plan)
	if err != nil {
		return nil, err
	}
	c.opts.weak.in(t)
	pid, errno := forkTable(t.calls, t.mem, 0, nil, uintptr(ep[1]))
	runtime.KeepAlive(t)
	if errno != 0 {
		return nil, stepError(op, "clone", errno)
	}
	if keeper.pid = int(pid); fds.keeper != 0 {
		c.keeper = keeper
	} else {
		reap(keeper.pid)
	}
	return t, nil
}

// takeJoined receives number and descriptor of the joined process. The socket ends with the helper, if that fails.
func (c *container) takeJoined() error {
	b, oob := make([]byte, 8), make([]byte, unix.CmsgSpace(4))
	n, on, err := 0, 0, error(unix.EINTR)
	for err == unix.EINTR {
		n, on, _, _, err = unix.Recvmsg(c.sock, b, oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return err
	}
	m, err := unix.ParseSocketControlMessage(oob[:on])
	if err != nil || n < 4 || len(m) != 1 {
		return errNoDescriptor
	}
	fds, err := unix.ParseUnixRights(&m[0])
	if err != nil || len(fds) != 1 {
		return errNoDescriptor
	}
	c.pid, c.pidfd = int(binary.NativeEndian.Uint32(b)), fds[0]
	return nil
}

// join lowers the way into the container. The helper never shows in the container's pid namespace. The joined process
// does, but as long as it has this program's memory it is undumpable, and that memory belongs to the namespace of this
// process: nothing inside may trace it or open its descriptors.
func (l *lowering) join() {
	const pid = slotRoot
	l.mortal()
	l.stdio()
	keep := []int{l.fds.socket, l.fds.errors, l.fds.target}
	if l.fds.keeper != 0 {
		keep = append(keep, l.fds.keeper)
	}
	slices.Sort(keep)
	l.closeAllBut(keep...)
	l.add("setns", unix.SYS_SETNS, l.fds.target, l.fds.joins)
	m := l.messageOf(4, 1)
	l.add("clone", unix.SYS_CLONE, unix.CLONE_PARENT|unix.CLONE_PIDFD|int(syscall.SIGCHLD), 0, hold(l.table, m.fd(0)), 0, 0).to(pid)
	joined := l.branch(pid, 0, 0)
	l.store(pid, (*int32)(unsafe.Pointer(&m.data[0])))
	if l.fds.keeper != 0 {
		l.keepJoined(m)
	} else {
		l.add("sendmsg", unix.SYS_SENDMSG, l.fds.socket, m.addr, unix.MSG_NOSIGNAL)
		l.add("exit_group", unix.SYS_EXIT_GROUP, 0)
	}
	l.calls[joined].jump = uint16(l.here())
	l.mortal()
	l.add("close", unix.SYS_CLOSE, l.fds.target)
	if l.fds.keeper != 0 {
		l.add("close", unix.SYS_CLOSE, l.fds.keeper)
	}
	if l.spec.TTY { // the terminal takes two messages of its own
		l.add("recvmsg", unix.SYS_RECVMSG, l.fds.socket, l.message(1).addr, unix.MSG_CMSG_CLOEXEC).expect(1)
	}
	l.become()
	l.reset()
}
