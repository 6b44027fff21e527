package runner

import (
	"bytes"
	"context"
	"os"
	"strconv"
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
	grace      time.Duration
	quit       chan struct{}
	done       chan struct{}

	mu     sync.Mutex
	killed bool           // we sent KILL
	as     syscall.Signal // the signal that this KILL stood for, 0 if it was an ultimatum
}

func newStopper(ctx context.Context, pid, pidfd int, o Options) *stopper {
	s := &stopper{pid: pid, pidfd: pidfd, grace: stopGrace, quit: make(chan struct{}), done: make(chan struct{})}
	if o.grace > 0 {
		s.grace = o.grace
	}
	go s.loop(ctx, o.Signals)
	return s
}

func (s *stopper) close() {
	close(s.quit)
	<-s.done
}

func (s *stopper) loop(ctx context.Context, signals <-chan os.Signal) {
	defer close(s.done)
	cancelled := ctx.Done()
	var ultimatum <-chan time.Time
	stop := func(sig syscall.Signal) {
		if ultimatum != nil {
			s.kill(0)
			return
		}
		s.deliver(sig)
		t := time.NewTimer(s.grace)
		ultimatum = t.C
	}
	for {
		select {
		case <-s.quit:
			return
		case <-cancelled:
			cancelled = nil
			stop(unix.SIGTERM)
		case <-ultimatum:
			s.kill(0)
		case sg, ok := <-signals:
			if !ok {
				signals = nil
				continue
			}
			switch sig, _ := sg.(syscall.Signal); sig {
			case unix.SIGTERM, unix.SIGINT, unix.SIGHUP:
				stop(sig)
			case 0:
			default:
				if s.catches(sig) {
					s.send(sig)
				}
			}
		}
	}
}

// deliver sends a stop signal. The first process of a pid namespace gets no signal that it has no handler for; what
// the signal would have done to any other process is then done with KILL.
func (s *stopper) deliver(sig syscall.Signal) {
	if s.catches(sig) {
		s.send(sig)
	} else {
		s.kill(sig)
	}
}

func (s *stopper) send(sig syscall.Signal) {
	// The only error left is that the process has ended.
	_ = unix.PidfdSendSignal(s.pidfd, sig, nil, 0)
}

func (s *stopper) kill(as syscall.Signal) {
	s.mu.Lock()
	if !s.killed {
		s.killed, s.as = true, as
	}
	s.mu.Unlock()
	s.send(unix.SIGKILL)
}

// catches tells whether the init has a handler for a signal.
func (s *stopper) catches(sig syscall.Signal) bool {
	b, err := os.ReadFile(procPath(s.pid, "status"))
	if err != nil {
		return false
	}
	return caught(b, sig)
}

// caught looks a signal up in the SigCgt line of /proc/PID/status.
func caught(status []byte, sig syscall.Signal) bool {
	const key = "\nSigCgt:"
	i := bytes.Index(status, []byte(key))
	if i < 0 {
		return false
	}
	line, _, _ := bytes.Cut(status[i+len(key):], []byte("\n"))
	set, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	return err == nil && sig > 0 && set&(1<<(sig-1)) != 0
}

// status explains the end of the init.
func (s *stopper) status(ws unix.WaitStatus) Status {
	if !ws.Signaled() {
		return Status{Code: ws.ExitStatus()}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	sig := ws.Signal()
	st := Status{Signal: int(sig)}
	if sig == unix.SIGKILL {
		st.Outside = !s.killed
		if s.killed && s.as != 0 {
			st.Signal = int(s.as)
		}
	}
	st.Code = 128 + st.Signal
	return st
}
