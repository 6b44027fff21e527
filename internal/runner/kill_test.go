package runner

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// started waits until a process whose command line holds a mark runs on the host, and returns it.
func started(t *testing.T, mark string) int {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if p := processes(t, mark); len(p) > 0 {
			return p[0]
		}
	}
	t.Fatalf("no process %q", mark)
	return 0
}

// sleeper is a number of seconds that no other process sleeps for.
func sleeper() string { return fmt.Sprintf("%d.%d", 1000+rand.IntN(1000), rand.IntN(1<<40)) }

func locked(t *testing.T, name string) bool {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// TestKilledHostProcess: after SIGKILL of the host process no process, mount, copy or lock is left within a second,
// not even of a process that has changed its uid, which clears the parent-death signal.
func TestKilledHostProcess(t *testing.T) {
	root := sharedRoot(t)
	for _, c := range []struct {
		summary string
		argv    []string
	}{
		{"plain", []string{"sleep"}},
		{"other user", []string{"setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "sleep"}},
		{"cleared pdeathsig", []string{"setpriv", "--pdeathsig", "clear", "sleep"}},
		{"child in another session", []string{"sh", "-c", "setpriv --reuid 1000 sleep $0 & sleep $0"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			dir := t.TempDir()
			work, lock := filepath.Join(dir, "work"), filepath.Join(dir, "lock")
			if err := os.Mkdir(work, 0o700); err != nil {
				t.Fatal(err)
			}
			mark := sleeper()
			cmd := startHelper(t, job{
				Spec:   Spec{Lower: []string{root}, Work: work, Argv: append(c.argv, mark), Env: []string{"PATH=/bin:/usr/bin"}},
				Remove: []string{work}, Locks: []string{lock},
			}, nil, nil, os.Stderr)
			started(t, "sleep\x00"+mark)
			if !locked(t, lock) || !exists(filepath.Join(work, "u")) {
				t.Error("lock or copy is missing during the run")
			}
			cmd.Process.Kill()
			cmd.Wait()
			eventually(t, "no process", func() bool { return len(processes(t, mark)) == 0 })
			eventually(t, "no copy", func() bool { return !exists(work) })
			eventually(t, "no lock", func() bool { return !locked(t, lock) })
			eventually(t, "no keeper", func() bool { return len(processes(t, work)) == 0 })
		})
	}
}

// TestKilledAtRandom kills the host process anywhere between its start and the middle of the run.
func TestKilledAtRandom(t *testing.T) {
	root, dir := sharedRoot(t), t.TempDir()
	n := 60
	if testing.Short() {
		n = 10
	}
	mark := sleeper()
	for i := range n {
		work := filepath.Join(dir, fmt.Sprint("work", i))
		if err := os.Mkdir(work, 0o700); err != nil {
			t.Fatal(err)
		}
		j := job{Spec: Spec{Lower: []string{root}, Work: work, Argv: []string{"setpriv", "--reuid", "1000", "sleep", mark}, Env: []string{"PATH=/bin:/usr/bin"}},
			Remove: []string{work}, Locks: []string{filepath.Join(dir, "lock")}}
		cmd := startHelper(t, j, nil, nil, nil)
		time.Sleep(time.Duration(rand.IntN(30000)) * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
		eventually(t, "no lock", func() bool { return !locked(t, filepath.Join(dir, "lock")) })
		// Killed before there was a keeper the folder is as it was made, for the next sweep.
		if exists(filepath.Join(work, "u")) {
			t.Errorf("run %d left its copy", i)
		}
	}
	eventually(t, "no process", func() bool { return len(processes(t, mark)) == 0 })
	if m, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(m), dir) {
		t.Error("mounts are left")
	}
}

func TestKilledKeeperOnlyCostsTheGuard(t *testing.T) {
	root, mark := sharedRoot(t), sleeper()
	work := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Work: work, Argv: []string{"sh", "-c", "sleep 0.3; exit 7 # " + mark}, Env: []string{"PATH=/bin"}},
		Remove: []string{work}}, nil, nil, &errs)
	started(t, "exit 7 # "+mark)
	for _, p := range children(cmd.Process.Pid) {
		if name, _ := os.ReadFile(procPath(p, "comm")); strings.TrimSpace(string(name)) == keeperName {
			unix.Kill(p, unix.SIGKILL)
		}
	}
	if code := exitCode(cmd.Wait()); code != 7 || errs.Len() != 0 || exists(work) {
		t.Errorf("code %d, %s, copy left: %v", code, &errs, exists(work))
	}
}

// children of a process, by the kernel's list.
func children(pid int) []int {
	var out []int
	tasks, _ := filepath.Glob(procPath(pid, "task/*/children"))
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, w := range strings.Fields(string(b)) {
			var n int
			if _, err := fmt.Sscan(w, &n); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

func TestStopSignals(t *testing.T) {
	root := sharedRoot(t)
	for _, c := range []struct {
		summary, script string
		signal          unix.Signal
		code            int
		out             string
	}{
		{"TERM without handler", "exec sleep", unix.SIGTERM, 143, ""},
		{"INT without handler", "exec sleep", unix.SIGINT, 130, ""},
		{"HUP without handler", "exec sleep", unix.SIGHUP, 129, ""},
		{"TERM with handler", "trap 'echo bye; exit 5' TERM; sleep $0 & wait; exit 9; :", unix.SIGTERM, 5, "bye\n"},
		{"INT with handler", "trap 'echo bye; exit 6' INT; sleep $0 & wait; exit 9; :", unix.SIGINT, 6, "bye\n"},
		{"TERM ignored", "trap '' TERM; sleep", unix.SIGTERM, 143, ""},
		{"USR1 with handler", "trap 'echo usr; exit 8' USR1; sleep $0 & wait; exit 9; :", unix.SIGUSR1, 8, "usr\n"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			mark := sleeper()
			var out bytes.Buffer
			cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Argv: []string{"sh", "-c", c.script + " $0", mark}, Env: []string{"PATH=/bin"}}}, nil, &out, os.Stderr)
			started(t, "sleep\x00"+mark)
			start := time.Now()
			cmd.Process.Signal(c.signal)
			if code := exitCode(cmd.Wait()); code != c.code || out.String() != c.out {
				t.Errorf("code %d, output %q", code, &out)
			}
			if d := time.Since(start); d > 9*time.Second { // not the ten seconds of patience with a command
				t.Errorf("took %v", d)
			}
			eventually(t, "no process", func() bool { return len(processes(t, mark)) == 0 })
		})
	}
}

// TestSecondSignalKills: who handles TERM by going on is killed by the next one, and that is no death from outside.
func TestSecondSignalKills(t *testing.T) {
	root, mark := sharedRoot(t), sleeper()
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Argv: []string{"sh", "-c", "trap 'echo no' TERM; while :; do sleep $0 & wait; done", mark}, Env: []string{"PATH=/bin"}}}, nil, wr, &errs)
	wr.Close()
	started(t, "sleep\x00"+mark)
	cmd.Process.Signal(unix.SIGTERM)
	b := make([]byte, 3)
	if _, err := rd.Read(b); err != nil || string(b) != "no\n" {
		t.Errorf("%q %v", b, err)
	}
	cmd.Process.Signal(unix.SIGTERM)
	if code := exitCode(cmd.Wait()); code != 137 || errs.Len() != 0 {
		t.Errorf("code %d, %s", code, &errs)
	}
}

func TestKilledFromOutside(t *testing.T) {
	root, mark := sharedRoot(t), sleeper()
	var errs bytes.Buffer
	cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Argv: []string{"sleep", mark}, Env: []string{"PATH=/bin"}}}, nil, nil, &errs)
	pid := started(t, "sleep\x00"+mark)
	for _, p := range processes(t, "sleep\x00"+mark) {
		if name, _ := os.ReadFile(procPath(p, "comm")); strings.TrimSpace(string(name)) == "sleep" {
			pid = p
		}
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(cmd.Wait()); code != 137 || errs.String() != "killed from outside (signal 9)\n" {
		t.Errorf("code %d, %q", code, &errs)
	}
}

// TestOrphansEndWithTheirInit: what is left running when the command ends, ends too.
func TestOrphansEndWithTheirInit(t *testing.T) {
	mark := sleeper()
	s := shell(t, "setpriv --reuid 1000 sleep "+mark+" > /dev/null 2>&1 & echo ended")
	if got := must(t, s); got != "ended\n" {
		t.Errorf("got %q", got)
	}
	eventually(t, "no process", func() bool { return len(processes(t, "sleep\x00"+mark)) == 0 })
}

func TestGuardWithoutContainer(t *testing.T) {
	dir := t.TempDir()
	temp, lock := filepath.Join(dir, "temp"), filepath.Join(dir, "lock")
	outside := filepath.Join(dir, "outside")
	for _, d := range []string{filepath.Join(temp, "a/b"), outside} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "f"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(temp, "a/link")); err != nil {
		t.Fatal(err)
	}
	needRoot(t)
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := startHelper(t, job{Guard: true, Remove: []string{temp}, Locks: []string{lock}}, nil, wr, os.Stderr)
	wr.Close()
	b := make([]byte, 8)
	if _, err := rd.Read(b); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	eventually(t, "no folder", func() bool { return !exists(temp) })
	eventually(t, "no lock", func() bool { return !locked(t, lock) })
	if !exists(filepath.Join(outside, "f")) {
		t.Error("removed through a link")
	}

	if err := os.MkdirAll(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	g, err := StartGuard(Keep{Remove: []string{temp}})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil || exists(temp) {
		t.Errorf("close: %v", err)
	}
}
