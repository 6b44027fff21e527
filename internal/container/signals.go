package container

import (
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// sameSignal is how long after a signal its second copy may arrive: a terminal, or a kill of the process group, reaches
// the process outside of the user namespace and the one inside, and the first relays what it gets.
const sameSignal = 250 * time.Millisecond

// A SignalSource hands the process's signals to whoever wants them now. In a user namespace it joins those that came by
// themselves with those relayed from outside.
type SignalSource struct {
	mu     sync.Mutex
	to     chan<- os.Signal // of the one who wants some
	wanted []os.Signal
	copies copies

	own chan os.Signal // nil outside of a namespace
}

// Watch starts the joining, in a user namespace.
func (s *SignalSource) Watch() {
	s.own = make(chan os.Signal, 16)
	relayed := make(chan os.Signal, 16)
	signal.Notify(s.own, Signals()...)
	go func() {
		b := make([]byte, 1)
		for {
			n, err := unix.Read(runner.InsideFD, b)
			switch {
			case err == unix.EINTR:
			case err != nil || n == 0:
				return // the process outside is gone, and takes this one with it
			default:
				relayed <- unix.Signal(b[0])
			}
		}
	}()
	go func() {
		for {
			select {
			case sig := <-s.own:
				s.arrived(sig, false)
			case sig := <-relayed:
				s.arrived(sig, true)
			}
		}
	}()
}

// arrived passes a signal on, unless it is the second copy of one. Without a taker it does what it would have done.
func (s *SignalSource) arrived(sig os.Signal, relayed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.copies.first(sig, relayed, time.Now()) {
		return
	}
	if s.to != nil && slices.Contains(s.wanted, sig) {
		select {
		case s.to <- sig:
		default: // as signal.Notify: a full channel has enough of them
		}
		return
	}
	signal.Reset(sig)
	if n, ok := sig.(unix.Signal); ok {
		_ = unix.Kill(os.Getpid(), n)
	}
}

// Notify is signal.Notify for the one taker there is at a time.
func (s *SignalSource) Notify(ch chan<- os.Signal, sigs ...os.Signal) {
	if s.own == nil {
		signal.Notify(ch, sigs...)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to, s.wanted = ch, sigs
}

// Stop is signal.Stop.
func (s *SignalSource) Stop(ch chan<- os.Signal) {
	if s.own == nil {
		signal.Stop(ch)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.to == ch {
		s.to, s.wanted = nil, nil
	}
}

// copies tells the second copy of a signal from a second signal.
type copies map[os.Signal]arrivals

type arrivals struct {
	relayed bool // the way of those whose copy may still come by the other
	n       int
	last    time.Time
}

func (c *copies) first(sig os.Signal, relayed bool, now time.Time) bool {
	if *c == nil {
		*c = copies{}
	}
	a := (*c)[sig]
	if now.Sub(a.last) > sameSignal {
		a.n = 0
	}
	if a.n > 0 && a.relayed != relayed {
		a.n--
		(*c)[sig] = a
		return false
	}
	(*c)[sig] = arrivals{relayed, a.n + 1, now}
	return true
}
