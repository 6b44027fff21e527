package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/runner/state"
)

// runSoak kills processes of containers of one cache at random. Its network and /run/rootctl are its own.
type runSoak struct {
	*natWorld
	records, mark string
	mounts        *os.File // namespace with a /run/rootctl of its own
	number        atomic.Int64

	mu     sync.Mutex
	count  map[string]int  // by who was killed, and what else was seen
	groups map[string]bool // control groups of the containers
}

// TestRunSoak kills the monitor, the keeper, both of them and the init, at random times. The next ps, rm and run then find all
// that is left, and nothing is.
func TestRunSoak(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to make containers")
	}
	kills, err := strconv.Atoi(os.Getenv("ROOTCTL_SOAK_RUN_KILLS"))
	if err != nil {
		kills = 40
	}
	s := newRunSoak(t)
	before := s.network(t)
	for done := 0; done < kills; done += 20 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					s.kill(t)
				}
			})
		}
		wg.Wait()
		for _, args := range [][]string{{"ps"}, {"rm", "-f", "--all"}, {"run", "fixture", "true"}, {"run", "--net=nat", "--dns", natFar, "fixture", "true"}} {
			var out bytes.Buffer
			c := s.command(s.cache, args...)
			c.Stdout, c.Stderr = &out, &out
			if err := errors.Join(s.at(c.Start), c.Wait()); err != nil {
				t.Errorf("%v: %v\n%s", args, err, &out)
			}
		}
		if s.checkNothing(t, before); t.Failed() {
			t.Fatalf("after %d kills", done+20)
		}
	}
	t.Logf("killed, and seen: %v", s.count)
	for _, what := range []string{"monitor", "keeper", "init", "monitor and keeper", "another user's process", "cleared parent-death signal", "nat", "limits"} {
		if s.count[what] == 0 {
			t.Errorf("none: %s", what)
		}
	}
}

// kill starts a container and kills some of its processes. Among those inside are one of another id and one that its
// parent's death does not end.
func (s *runSoak) kill(t *testing.T) {
	n := s.number.Add(1) // what is done goes by it, so that all of it is; when, is random
	mark := fmt.Sprintf("%s.%d", s.mark, n)
	script := "setpriv --reuid 1000 --clear-groups sleep " + mark + " & setpriv --pdeathsig clear sleep " + mark + " & sleep " + mark
	args := []string{"run"}
	detached := n/4%2 == 0
	if detached {
		args = append(args, "-d")
	}
	net, limits := n%3 == 0, n%5 < 2
	if net {
		args = append(args, "--net=nat", "--dns", natFar)
	}
	if limits {
		args = append(args, "--pids=50", "--memory=256MB")
	}
	var out, errs bytes.Buffer
	c := s.command(s.cache, append(args, "fixture", "sh", "-c", script)...)
	c.Stdout, c.Stderr = &out, &errs
	if err := s.at(c.Start); err != nil {
		t.Error(err)
		return
	}
	host := c.Process.Pid
	if detached {
		if err := c.Wait(); err != nil {
			t.Errorf("run -d: %v\n%s", err, errs.String())
			return
		}
		record, err := (&state.Dir{Path: s.records}).Find(strings.TrimSpace(out.String()))
		if err != nil {
			t.Error(err)
			return
		}
		host = record.Monitor
	}
	if n%7 < 2 {
		s.see(t, mark)
	} else {
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
	}
	s.note(net, limits)
	var keeper, init []int
	for _, pid := range childrenOf(host) {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.HasPrefix(string(comm), "rootctl-keeper") {
			keeper = append(keeper, pid)
		} else {
			init = append(init, pid)
		}
	}
	name, pids := "monitor", []int{host}
	switch n % 4 {
	case 1:
		name, pids = "keeper", keeper
	case 2:
		name, pids = "init", init
	case 3:
		name, pids = "monitor and keeper", append(keeper, host)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
	}
	s.mu.Lock()
	s.count[name] += min(1, len(pids))
	s.mu.Unlock()
	if !detached {
		_ = syscall.Kill(host, syscall.SIGKILL)
		_ = c.Wait()
	}
}

func childrenOf(pid int) (out []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, w := range strings.Fields(string(b)) {
			if n, err := strconv.Atoi(w); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}
