package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"

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
	plan = o.weak.of(plan)
	// The parent-death signal follows the thread that forked, so this goroutine keeps it until the init has ended.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c := newContainer(&s, o, plan)
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
	clerk  *clerk

	putBack func() error // what was moved out of the way of a chroot

	space *os.File // a namespace of the init, if it shares the host's processes

	pid   int
	pidfd int
	sock  int // to the init
	errs  int // from the init

	snmp     int    // counters of the network namespace
	noRoutes uint64 // as one of them stood before the command
	format   int    // a mount that keeps a registration

	groups      []*group // that keep its limits
	killsBefore int      // processes that these had killed

	leftover []int         // detached mounts that are used up
	work     int           // the directory with u and w, -1 without
	tidied   chan struct{} // they have been closed
}

// newContainer has no descriptor yet: 0 would be one of the caller's.
func newContainer(s *Spec, o Options, p Plan) *container {
	return &container{spec: s, opts: o, plan: p, pidfd: -1, sock: -1, errs: -1, work: -1, format: -1, snmp: -1}
}

// start makes the container and returns when the command has been executed.
func (c *container) start(ctx context.Context) error {
	stdio, err := c.stdio()
	if err != nil {
		return err
	}
	root, binds, err := c.prepareBinds()
	defer binds.close()
	if err != nil {
		return err
	}
	t, err := c.fork(stdio)
	if err != nil {
		return err
	}
	c.closeChildEnds()
	c.opts.plain, c.opts.reaper, c.opts.below = c.spec.Init, c.spec.Init, c.spec.chrooted() // the reaper passes every signal on
	c.stop = newStopper(ctx, c.pid, c.pidfd, c.opts)
	if err := c.feed(root, binds); err != nil {
		return c.blame(t, err)
	}
	c.tidy()
	if err := c.takeFormat(); err != nil {
		return c.blame(t, err)
	}
	if err := c.takeCounters(); err != nil {
		return c.blame(t, err)
	}
	if c.spec.TTY {
		if err := c.takeTerminal(); err != nil {
			return c.blame(t, err)
		}
	}
	if c.spec.singleID() && c.spec.RecordOwners {
		if err := c.takeOwners(); err != nil {
			return c.blame(t, err)
		}
	}
	if err := c.letGo(); err != nil {
		return c.blame(t, err)
	}
	err = c.childError(t)
	runtime.KeepAlive(t)
	if err == nil && c.opts.Started != nil {
		p, e := ProcessOf(c.pid, c.pidfd)
		p.Cgroups = c.groupDirs()
		if e == nil {
			e = c.opts.Started(p)
		}
		if e != nil {
			return e
		}
	}
	if err == nil && c.opts.Log != nil {
		c.opts.Log.Debug("container started", "pid", c.pid, "command", c.spec.Argv[0], "base", c.spec.IDs.Base)
	}
	return err
}

// letGo does what has to be done before the command is executed, while the init mounts, and lets it execute that.
func (c *container) letGo() error {
	if c.opts.Made != nil {
		p, err := ProcessOf(c.pid, c.pidfd)
		if err == nil {
			err = c.opts.Made(p)
		}
		if err != nil {
			return err
		}
	}
	if c.opts.Ready != nil {
		if err := c.opts.Ready(); err != nil {
			return err
		}
	}
	return stepError(c.plan.find(VerbGo), "sendmsg", unix.Sendmsg(c.sock, []byte{'g'}, nil, nil, unix.MSG_NOSIGNAL))
}

// wait waits for the init and says how it ended.
func (c *container) wait() (Status, error) {
	if c.spec.chrooted() {
		c.awaitCommand()
		EndBelow(c.pid)
	}
	err := unix.EINTR
	for err == unix.EINTR {
		err, _ = unix.Waitid(unix.P_PID, c.pid, nil, unix.WEXITED|unix.WNOWAIT, nil).(unix.Errno)
	}
	c.stop.close()
	if err != 0 {
		return Status{Code: 125}, fmt.Errorf("wait for the container: %w", err)
	}
	c.endSpace()
	ws := reap(c.pid)
	c.pid = 0
	endRooted(c.spec.ChrootOf())
	st := c.stop.status(ws)
	st.OverMemory = st.Code != 0 && c.overMemory()
	st.TriedNet = st.Code != 0 && c.triedNet()
	return st, nil
}

// abandon ends a container whose start went wrong.
func (c *container) abandon() {
	if c.pid == 0 {
		return
	}
	if c.spec.chrooted() {
		EndBelow(c.pid)
	}
	// An error of kill means that it has ended already.
	_ = unix.PidfdSendSignal(c.pidfd, unix.SIGKILL, nil, 0)
	if c.stop != nil {
		c.stop.close()
	}
	c.endSpace()
	reap(c.pid)
	c.pid = 0
}

// finish undoes everything once no process of the container is left: terminal, copy, keeper.
func (c *container) finish() error {
	for _, r := range c.relays {
		r.finish()
	}
	if c.term != nil {
		c.term.finish()
	}
	if c.clerk != nil {
		c.clerk.finish()
	}
	c.tidy()
	<-c.tidied
	var err error
	if c.putBack != nil {
		err = c.putBack()
	}
	if c.keeper == nil {
		return err
	}
	return errors.Join(err, c.keeper.Close())
}

// tidy closes used-up mounts on the side: the kernel waits for all processors at each of them, for milliseconds.
func (c *container) tidy() {
	if c.tidied != nil {
		return
	}
	c.tidied = make(chan struct{})
	go func() {
		defer close(c.tidied)
		c.forgetVolatile()
		for _, fd := range append(c.leftover, c.work) {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
	}()
}

// forgetVolatile removes the overlay's mark that its upper directory was not synced, which the kernel looks for at the
// next mount only: this one's directories go before there is one. Whatever of it is left goes with them.
func (c *container) forgetVolatile() {
	if c.work < 0 || c.spec.Work == "" {
		return
	}
	incompat := path.Join("w", "work", "incompat")
	_ = unix.Unlinkat(c.work, incompat+"/volatile/dirty", 0)
	_ = unix.Unlinkat(c.work, incompat+"/volatile", unix.AT_REMOVEDIR)
	_ = unix.Unlinkat(c.work, incompat, unix.AT_REMOVEDIR)
}

func (c *container) closeChildEnds() {
	for _, r := range c.relays {
		r.closeChildEnd()
	}
}

func (c *container) release() {
	for _, fd := range []int{c.pidfd, c.sock, c.errs, c.format, c.snmp} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	for _, f := range c.files {
		f.Close()
	}
	c.releaseGroups()
}

func (c *container) note(format string, a ...any) {
	if c.opts.Note != nil {
		c.opts.Note(fmt.Sprintf(format, a...))
	}
}
