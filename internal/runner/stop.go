package runner

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is how long a container that can take a stop signal has before it is killed.
const stopGrace = 10 * time.Second

// stopper passes signals on to the init and remembers what it did, so that the end can be explained.
type stopper struct {
	pid, pidfd int
	grace      func() time.Duration // may be nil
	below      bool                 // KILL goes to all below the process
	plain      bool                 // the process is no init: a signal does to it what it does to any other
	reaper     bool                 // or it will be a reaper, and takes none before
	keys       chan *watch          // begun when a key was typed at the container's terminal
	quit       chan struct{}
	closing    sync.Once

	// These are the loop's.
	ultimatum <-chan time.Time
	watch     *watch
	tick      <-chan time.Time

	acting sync.Mutex // held while something is done to the process
	closed bool

	mu     sync.Mutex
	killed bool           // we sent KILL
	as     syscall.Signal // the signal that this KILL stood for, 0 if it was an ultimatum
	late   bool           // it was sent because the grace had run out
}

func newStopper(ctx context.Context, pid, pidfd int, o Options) *stopper {
	s := &stopper{plain: o.plain, reaper: o.reaper, below: o.below, pid: pid, pidfd: pidfd, grace: o.Grace,
		keys: make(chan *watch, 4), quit: make(chan struct{})}
	go s.loop(ctx, o.Signals)
	return s
}

// close must come before the init is reaped: its number is used to signal its group and to look at it.
func (s *stopper) close() {
	// The loop is not waited for, which would cost two changes of threads: it does nothing any more.
	s.acting.Lock()
	s.closed = true
	s.acting.Unlock()
	s.closing.Do(func() { close(s.quit) })
}

func (s *stopper) loop(ctx context.Context, signals <-chan os.Signal) {
	cancelled := ctx.Done()
	for {
		var act func()
		select {
		case <-s.quit:
			return
		case <-cancelled:
			cancelled = nil
			act = func() { s.stop(unix.SIGTERM) }
		case <-s.ultimatum:
			act = func() { s.kill(0, true) }
		case w := <-s.keys:
			act = func() { s.follow(w, keyTime) }
		case <-s.tick:
			act = s.look
		case sg, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			act = func() { s.arrived(sg) }
		}
		if !s.do(act) {
			return
		}
	}
}

// do acts unless the stopper has been closed.
func (s *stopper) do(act func()) bool {
	s.acting.Lock()
	defer s.acting.Unlock()
	if s.closed {
		return false
	}
	act()
	return true
}

func (s *stopper) arrived(sg os.Signal) {
	switch sig, _ := sg.(syscall.Signal); sig {
	case unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGQUIT:
		s.stop(sig)
	case 0:
	default:
		if s.plain || reactionOf(s.pid, sig) == takes {
			s.send(sig)
		}
	}
}

// stop sends a stop signal, or KILL if it is not the first. The first process of a pid namespace gets no signal that it
// has no handler for; what the signal would have done to any other process is then done with KILL.
//
// It goes to the whole group, as a terminal would send it: a shell or make waits for its child first. With job control
// the group is the shell alone, and the jobs are its business.
func (s *stopper) stop(sig syscall.Signal) {
	switch {
	case s.ultimatum != nil:
		s.kill(0, false)
		return
	case s.plain && (!s.reaper || reaps(s.pid)):
		if unix.Kill(-s.pid, sig) != nil {
			s.send(sig)
		}
	case !s.plain && reactionOf(s.pid, sig) == takes:
		s.follow(newWatch(s.pid, sig), 0)
		// The init leads its session, so it cannot leave its group. Only before its command starts there is none.
		if unix.Kill(-s.pid, sig) != nil {
			s.kill(sig, false)
		}
	default:
		s.kill(sig, false)
	}
	grace := stopGrace
	if s.grace != nil {
		if g := s.grace(); g > 0 {
			grace = g
		}
	}
	s.ultimatum = time.After(grace)
}

// follow watches what the init makes of a signal, for a time at most if that is not 0.
func (s *stopper) follow(w *watch, limit time.Duration) {
	if s.watch == nil || s.watch.sig != w.sig {
		s.watch = w
	}
	s.watch.until = time.Time{}
	if limit > 0 && s.ultimatum == nil {
		s.watch.until = time.Now().Add(limit)
	}
	s.tick = time.After(watchEvery)
}

// look is one look at a watched init.
func (s *stopper) look() {
	s.tick = nil
	if s.watch == nil {
		return
	}
	switch dying, over := s.watch.look(time.Now()); {
	case dying:
		s.kill(s.watch.sig, false)
	case over:
		s.watch = nil
	default:
		s.tick = time.After(watchEvery)
	}
}

func (s *stopper) send(sig syscall.Signal) {
	// The only error left is that the process has ended.
	_ = unix.PidfdSendSignal(s.pidfd, sig, nil, 0)
}

func (s *stopper) kill(as syscall.Signal, late bool) {
	s.mu.Lock()
	if !s.killed {
		s.killed, s.as, s.late = true, as, late
	}
	s.mu.Unlock()
	if s.below {
		EndBelow(s.pid)
		return
	}
	s.send(unix.SIGKILL)
}

// status explains the end of the init.
func (s *stopper) status(ws unix.WaitStatus) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !ws.Signaled() {
		return Status{Code: ws.ExitStatus(), TimedOut: s.below && s.late}
	}
	sig := ws.Signal()
	st := Status{Signal: int(sig)}
	if sig == unix.SIGKILL {
		st.Outside = !s.killed
		st.TimedOut = s.late
		if s.killed && s.as != 0 {
			st.Signal = int(s.as)
		}
	}
	st.Code = 128 + st.Signal
	return st
}
