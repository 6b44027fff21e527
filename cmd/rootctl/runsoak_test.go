package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/runner/state"
)

// runSoak kills processes of containers of one cache at random.
type runSoak struct {
	*fixture
	cache, records, mark string

	mu    sync.Mutex
	count map[string]int // by who was killed
}

// TestRunSoak kills the monitor, the keeper, both of them and the init, at random times. The next ps and rm then find all
// that is left, and nothing is.
func TestRunSoak(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to make containers")
	}
	kills, err := strconv.Atoi(os.Getenv("ROOTCTL_SOAK_RUN_KILLS"))
	if err != nil {
		kills = 40
	}
	s := &runSoak{fixture: newFixture(t), cache: filepath.Join(t.TempDir(), "cache"), records: filepath.Join(t.TempDir(), "containers"),
		mark: fmt.Sprint(3000000 + os.Getpid()), count: map[string]int{}}
	t.Setenv("ROOTCTL_STATE", s.records)
	s.build(t, s.cache)
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
		for _, args := range [][]string{{"ps"}, {"rm", "-f", "--all"}, {"run", "fixture", "true"}} {
			if out, err := s.command(s.cache, args...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", args, err, out)
			}
		}
		if s.checkNothing(t); t.Failed() {
			t.Fatalf("after %d kills", done+20)
		}
	}
	t.Logf("killed: %v", s.count)
}

// kill starts a container and kills some of its processes. Among those inside are one of another id and one that its
// parent's death does not end.
func (s *runSoak) kill(t *testing.T) {
	script := "setpriv --reuid 1000 --clear-groups sleep " + s.mark + " & setpriv --pdeathsig clear sleep " + s.mark + " & sleep " + s.mark
	args := []string{"run", "--bind", "/usr:/usr:ro", "fixture", "sh", "-c", script}
	detached := rand.IntN(2) == 0
	if detached {
		args = append([]string{"run", "-d"}, args[1:]...)
	}
	var out, errs bytes.Buffer
	c := s.command(s.cache, args...)
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Start(); err != nil {
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
	time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
	var keeper, init []int
	for _, pid := range childrenOf(host) {
		if comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); strings.HasPrefix(string(comm), "rootctl-keeper") {
			keeper = append(keeper, pid)
		} else {
			init = append(init, pid)
		}
	}
	name, pids := "monitor", []int{host}
	switch rand.IntN(4) {
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

// checkNothing gives the keepers a moment.
func (s *runSoak) checkNothing(t *testing.T) {
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = append(s.processes(t, s.cache), leftFiles(t, s.cache)...)
		cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, f := range cmdlines {
			if b, _ := os.ReadFile(f); strings.Contains(string(b), s.mark) {
				left = append(left, f+": "+string(b))
			}
		}
		for _, p := range []string{s.records + "/*/*", s.cache + "/scratch/*/u/*", s.cache + "/scratch/*.kept"} {
			found, _ := filepath.Glob(p)
			left = append(left, found...)
		}
		if locks, _ := filepath.Glob(s.cache + "/scratch/*.lock"); len(locks) > 24 {
			left = append(left, locks...)
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind: %q", left)
}
