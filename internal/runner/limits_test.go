package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func noGroups(t *testing.T, dirs []string) {
	t.Helper()
	eventually(t, fmt.Sprint("no control groups ", dirs), func() bool {
		for _, d := range dirs {
			if exists(d) {
				return false
			}
		}
		return true
	})
}

// limited is a run with limits that also tells its control groups.
func limited(t *testing.T, s Spec, l Limits, o Options) (result, []string) {
	t.Helper()
	s.Limits = l
	var dirs []string
	o.Started = func(p Process) error { dirs = p.Cgroups; return nil }
	r := try(t, s, o)
	if r.failure != nil || len(dirs) == 0 {
		t.Fatalf("run: %v, groups %q", r.failure, dirs)
	}
	noGroups(t, dirs)
	return r, dirs
}

// hog fills 200 MB once.
const hog = "dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null"

func TestMemoryLimit(t *testing.T) {
	l := Limits{Memory: 64 << 20}
	for _, c := range []struct {
		summary, script string
		code            int
		outside, over   bool
		out             string
	}{
		{"within", "dd if=/dev/zero of=/dev/null bs=16M count=1 2>/dev/null; echo fine", 0, false, false, "fine\n"},
		{"the command itself", "exec " + hog, 137, true, true, ""},
		{"a child", hog + "; exit $?", 137, false, true, ""},
		{"a child that is not missed", hog + "; echo $?", 0, false, false, "137\n"},
		{"files in memory count", "exec dd if=/dev/zero of=/tmp/x bs=1M count=200 2>/dev/null", 137, true, true, ""},
	} {
		t.Run(c.summary, func(t *testing.T) {
			s := shell(t, c.script)
			s.Work = t.TempDir()
			r, _ := limited(t, s, l, Options{})
			if r.status.Code != c.code || r.status.Outside != c.outside || r.status.OverMemory != c.over || c.out != "" && r.out != c.out {
				t.Errorf("status %+v, output %q, %q", r.status, r.out, r.err)
			}
			if len(r.said(t)) != 0 {
				t.Errorf("notes %q", r.said(t))
			}
		})
	}
	r, _ := limited(t, shell(t, "true"), l, Options{})
	if len(r.said(t)) != 1 || !strings.Contains(r.said(t)[0], "counts for the limit of memory") {
		t.Errorf("a copy in memory: notes %q", r.said(t))
	}
}

// many starts 60 processes of a second.
const many = `for i in $(seq 60); do sleep 1 >/dev/null 2>&1 & done`

func TestPidsLimit(t *testing.T) {
	const limit = 20
	s := shell(t, "("+many+"); i=0; for p in /proc/[0-9]*; do i=$((i+1)); done; echo $i")
	r, _ := limited(t, s, Limits{Pids: limit}, Options{})
	f := strings.Fields(r.out)
	if len(f) == 0 {
		t.Fatalf("%+v", r)
	}
	if n, err := strconv.Atoi(f[len(f)-1]); err != nil || n > limit || n < limit/2 {
		t.Errorf("%q processes, %v", r.out, err)
	}
	if !strings.Contains(strings.ToLower(r.err), "fork") {
		t.Errorf("nothing was refused: %q", r.err)
	}
}

// TestForkBomb needs TestPidsLimit to hold. It ends by itself after two seconds, too.
func TestForkBomb(t *testing.T) {
	r := startContainerLimited(t, "sleep 2 & t=$!; b() { while kill -0 $t; do b & b & wait; done; }; b & wait $t", Limits{Pids: 30, Memory: 256 << 20, CPUs: 0.5})
	most, dirs := 0, r.Cgroups
	for there := true; there && most < 20; time.Sleep(5 * time.Millisecond) {
		there = false
		for _, d := range dirs {
			pids, err := words(filepath.Join(d, "cgroup.procs"))
			most, there = max(most, len(pids)), there || err == nil // gone when it has ended
		}
	}
	r.end()
	noGroups(t, dirs)
	if most < 20 || most > 30 {
		t.Errorf("%d processes at once", most)
	}
}

func startContainerLimited(t *testing.T, script string, l Limits) *running {
	t.Helper()
	s := shell(t, script)
	s.Limits = l
	return startContainer(t, s)
}

func TestCPULimit(t *testing.T) {
	const loop = `timeout 1 sh -c 'while :; do :; done'; times`
	s := shell(t, loop)
	s.Argv[0] = "bash"
	r, _ := limited(t, s, Limits{CPUs: 0.2}, Options{})
	var m, sec float64
	_, children, _ := strings.Cut(r.out, "\n")
	if _, err := fmt.Sscanf(children, "%fm%fs", &m, &sec); err != nil || m != 0 || sec > 0.5 || sec < 0.05 {
		t.Errorf("a fifth of a processor for a second gave %q, %v", r.out, err)
	}
}

// TestLimitsOfJoined: a command that joins is in the same groups, and these are all that it sees.
func TestLimitsOfJoined(t *testing.T) {
	r := startContainerLimited(t, idle, Limits{Memory: 64 << 20, CPUs: 1.5, Pids: 12})
	const look = `while IFS=: read n c p; do case $c in memory|pids|cpu*) v1=1; echo $p;; "") v2=$p;; esac; done </proc/self/cgroup; [ $v1 ] || echo $v2`
	if got := r.exec(t, script(look)); strings.Trim(got.out, "/\n") != "" || got.out == "" {
		t.Errorf("groups of a joined command: %q, %v", got.out, got.failure)
	}
	if got := r.exec(t, script(`(`+many+`) || echo none`)); !strings.Contains(strings.ToLower(got.out), "fork") {
		t.Errorf("a joined command started 60 processes: %q, %v", got.out, got.failure)
	}
	if got := r.exec(t, script("exec "+hog)); got.status.Code != 137 || !got.status.OverMemory {
		t.Errorf("a joined command used 200 MB: %+v", got.status)
	}
	dirs := r.Cgroups
	r.Cgroups = nil // as a record may lack them
	if got := r.exec(t, script(look)); strings.Trim(got.out, "/\n") != "" || got.out == "" {
		t.Errorf("groups of a joined command: %q, %v", got.out, got.failure)
	}
	r.end()
	noGroups(t, dirs)
}

func groupsOfPID(t *testing.T, pid int) []string {
	t.Helper()
	dirs, err := groupsOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// TestKilledWithLimits: after SIGKILL of the host process no control group is left; killed together with the keeper, the
// next run with limits removes them.
func TestKilledWithLimits(t *testing.T) {
	root := sharedRoot(t)
	begin := func() (kill func(keeper bool), dirs []string) {
		mark := sleeper()
		cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Argv: []string{"setpriv", "--reuid", "1000", "sleep", mark},
			Env: []string{"PATH=/bin:/usr/bin"}, Limits: Limits{Memory: 64 << 20, CPUs: 1, Pids: 10}}}, nil, nil, os.Stderr)
		dirs = groupsOfPID(t, started(t, "sleep\x00"+mark))
		if len(dirs) == 0 {
			t.Fatal("no control groups")
		}
		for _, p := range append(children(cmd.Process.Pid), cmd.Process.Pid) {
			name, _ := os.ReadFile(procPath(p, "comm"))
			if got := groupsOfPID(t, p); len(got) > 0 && (p == cmd.Process.Pid || strings.TrimSpace(string(name)) == keeperName) {
				t.Errorf("process %d %s is in %q, too", p, name, got)
			}
		}
		return func(keeper bool) {
			var init int
			for _, p := range children(cmd.Process.Pid) {
				if name, _ := os.ReadFile(procPath(p, "comm")); strings.TrimSpace(string(name)) != keeperName {
					init = p
				} else if keeper {
					unix.Kill(p, unix.SIGKILL)
				}
			}
			cmd.Process.Kill()
			cmd.Wait()
			if keeper {
				unix.Kill(init, unix.SIGKILL)
			}
		}, dirs
	}
	kill, dirs := begin()
	kill(false)
	noGroups(t, dirs)

	kill, dirs = begin()
	kill(true)
	for _, d := range dirs {
		eventually(t, "no process in "+d, func() bool { w, _ := words(filepath.Join(d, "cgroup.procs")); return len(w) == 0 })
		if !exists(d) {
			t.Errorf("%s is gone without a sweep", d)
		}
	}
	limited(t, shell(t, "true"), Limits{Memory: 64 << 20, CPUs: 1, Pids: 10}, Options{})
	noGroups(t, dirs)
}

// TestNoLimitsNoGroups: a run without limits makes none.
func TestNoLimitsNoGroups(t *testing.T) {
	r := startContainer(t, shell(t, idle))
	if got := groupsOfPID(t, r.PID); len(got) != 0 || len(r.Cgroups) != 0 {
		t.Errorf("groups %q, %q", got, r.Cgroups)
	}
}

func TestLimitsAreChecked(t *testing.T) {
	for _, l := range []Limits{{Memory: 1}, {Memory: -1}, {CPUs: 0.001}, {CPUs: -1}, {Pids: -1}, {Pids: 1 << 40}} {
		var e *SpecError
		if _, err := (Spec{Dir: "/", Argv: []string{"true"}, IDs: IDRange{1 << 20, 65536}, Limits: l}).Plan(); !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
