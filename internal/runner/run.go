package runner

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run runs the command of a Spec and waits for its end. Cancelling ctx stops it as a TERM signal would.
//
// The error is nil if the command ran, whatever its code. A *CommandError comes with Status.Code 126 or 127; with any
// other error Code is 125 and nothing has run.
func Run(ctx context.Context, spec Spec, o Options) (Status, error) {
	failed := Status{Code: 125}
	s := spec.withDefaults()
	if err := s.validate(); err != nil {
		return failed, err
	}
	if os.Geteuid() != 0 {
		return failed, rootError()
	}
	if err := context.Cause(ctx); err != nil {
		return failed, err
	}
	plan, err := s.plan()
	if err != nil {
		return failed, err
	}
	// The parent-death signal follows the thread that forked, so this goroutine keeps it until the init has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := &container{spec: &s, opts: o, plan: plan, pidfd: -1, sock: -1, errs: -1}
	defer c.release()
	if err := c.start(ctx); err != nil {
		c.abandon()
		var ce *CommandError
		if errors.As(err, &ce) {
			failed.Code = ce.Code
		}
		return failed, errors.Join(err, c.finish())
	}
	st, err := c.wait()
	return st, errors.Join(err, c.finish())
}

// container is one run in progress.
type container struct {
	spec *Spec
	opts Options
	plan Plan

	files  []*os.File // closed at the end
	keeper *Guard
	term   *terminal
	relays []*relay
	stop   *stopper

	pid   int
	pidfd int
	sock  int // to the init
	errs  int // from the init
}

// start makes the container and returns when the command has been executed.
func (c *container) start(ctx context.Context) error {
	stdio, err := c.stdio()
	if err != nil {
		return err
	}
	var keep Keep
	if c.opts.Keep != nil {
		keep = *c.opts.Keep
	}
	c.keeper, err = StartGuard(keep)
	if err != nil {
		return err
	}
	rootUID, binds, err := c.prepareBinds()
	defer binds.close()
	if err != nil {
		return err
	}
	t, err := c.fork(stdio)
	if err != nil {
		return err
	}
	c.closeChildEnds()
	c.stop = newStopper(ctx, c.pid, c.pidfd, c.opts.Signals)
	if err := c.keeper.watch(c.pidfd); err != nil {
		return err
	}
	if err := c.feed(rootUID, binds); err != nil {
		return c.blame(t, err)
	}
	if c.spec.TTY {
		if err := c.takeTerminal(); err != nil {
			return c.blame(t, err)
		}
	}
	err = c.childError(t)
	runtime.KeepAlive(t)
	return err
}

// fork clones the init, which then waits for feed.
func (c *container) fork(stdio [3]int) (*table, error) {
	op := c.plan.find(VerbClone)
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, stepError(op, "socketpair", err)
	}
	c.sock = sp[0]
	theirs := os.NewFile(uintptr(sp[1]), "init socket")
	defer theirs.Close()
	var ep [2]int
	if err := unix.Pipe2(ep[:], unix.O_CLOEXEC); err != nil {
		return nil, stepError(op, "pipe2", err)
	}
	c.errs = ep[0]
	errEnd := os.NewFile(uintptr(ep[1]), "init errors")
	defer errEnd.Close()
	t, err := c.spec.lower(c.plan, inherited{stdio: stdio, socket: sp[1], errors: ep[1]})
	if err != nil {
		return nil, err
	}
	var pidfd int32
	pid, errno := forkTable(t.calls, t.mem, c.cloneFlags()|unix.CLONE_PIDFD, &pidfd, uintptr(ep[1]))
	runtime.KeepAlive(t)
	if errno != 0 {
		return nil, stepError(op, "clone", errno)
	}
	c.pid, c.pidfd = int(pid), int(pidfd)
	return t, nil
}

func (c *container) cloneFlags() uintptr {
	f := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP)
	if c.spec.ownUsers() {
		f |= unix.CLONE_NEWUSER
	}
	if c.spec.ownNet() {
		f |= unix.CLONE_NEWNET
	}
	return f
}

// feed writes the id maps, makes the root's mount and sends it with the binds.
func (c *container) feed(root owner, binds bindTrees) error {
	users := -1
	if c.spec.ownUsers() {
		op := c.plan.find(VerbMapIDs)
		if err := writeMaps(c.pid, root.maps(c.spec.IDs)); err != nil {
			return stepError(op, "write", err)
		}
		fd, err := openUserNS(c.pid)
		if err != nil {
			return stepError(op, "open", err)
		}
		defer unix.Close(fd)
		users = fd
	}
	tree, err := c.rootTree(users, root)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	rights := unix.UnixRights(append([]int{tree}, binds...)...)
	return stepError(c.plan.find(VerbReceive), "sendmsg", unix.Sendmsg(c.sock, []byte{'m'}, rights, nil, unix.MSG_NOSIGNAL))
}

// blame ends the init after an error on this side, and prefers its own last words, if it had any, as the cause.
func (c *container) blame(t *table, err error) error {
	c.abandon()
	if e := c.childError(t); e != nil {
		return e
	}
	return err
}

// childError reads the init's last words: none if it has executed the command.
func (c *container) childError(t *table) error {
	var b [8]byte
	n, err := readFull(c.errs, b[:])
	switch {
	case err != nil:
		return stepError(c.plan.find(VerbStart), "read", err)
	case n == 0:
		return nil
	case n < len(b):
		return stepError(c.plan.find(VerbStart), "read", fmt.Errorf("%d bytes of a report", n))
	}
	step, errno := int(binary.NativeEndian.Uint32(b[:])), syscall.Errno(binary.NativeEndian.Uint32(b[4:]))
	if step >= len(t.calls) {
		return stepError(c.plan.find(VerbStart), "", errno)
	}
	op := c.plan[t.op[step]]
	if op.Verb != VerbExec {
		return &StepError{Op: op, Call: t.name[step], Err: errno}
	}
	ce := &CommandError{Name: c.spec.Argv[0], Code: 126, Err: errno}
	switch {
	case t.calls[step].kind == kindExec:
		ce.Interpreter = errno == unix.ENOENT || errno == unix.ENOTDIR
	case errno == unix.ENOENT:
		ce.Code = 127
	}
	return ce
}

// wait waits for the init and says how it ended.
func (c *container) wait() (Status, error) {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(c.pid, &ws, 0, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return Status{Code: 125}, fmt.Errorf("wait for the container: %w", err)
		}
	}
	c.pid = 0
	return c.stop.status(ws), nil
}

// abandon ends a container whose start went wrong.
func (c *container) abandon() {
	if c.pid == 0 {
		return
	}
	// An error of kill means that it has ended already.
	_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
	for {
		if _, err := unix.Wait4(c.pid, nil, 0, nil); err != unix.EINTR {
			break
		}
	}
	c.pid = 0
}

// finish undoes everything once no process of the container is left: terminal, copy, keeper.
func (c *container) finish() error {
	if c.stop != nil {
		c.stop.close()
	}
	for _, r := range c.relays {
		r.finish()
	}
	if c.term != nil {
		c.term.finish()
	}
	if c.keeper == nil {
		return nil
	}
	return c.keeper.Close()
}

func (c *container) closeChildEnds() {
	for _, r := range c.relays {
		r.closeChildEnd()
	}
}

func (c *container) release() {
	for _, fd := range []int{c.pidfd, c.sock, c.errs} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, f := range c.files {
		f.Close()
	}
}

func (c *container) note(format string, a ...any) {
	if c.opts.Note != nil {
		c.opts.Note(fmt.Sprintf(format, a...))
	}
}

// readFull reads until b is full or the end of the file.
func readFull(fd int, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	return n, nil
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
