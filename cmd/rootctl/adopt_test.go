package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rootctl/rootctl/internal/runner/state"
)

// TestKeptAfterReboot: records are gone after a start of the machine, kept copies are not; they are found again.
func TestKeptAfterReboot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers, and to become users with and without id ranges")
	}
	f := newFixture(t)
	for name, user := range map[string]func(t *testing.T) *ordinary{
		"root": func(t *testing.T) *ordinary {
			own := *f
			o := &ordinary{fixture: &own}
			o.settle(t)
			return o
		},
		"subuids": func(t *testing.T) *ordinary { return f.as(t, false) },
		"single":  func(t *testing.T) *ordinary { return f.as(t, true) },
	} {
		t.Run(name, func(t *testing.T) {
			o := user(t)
			records := filepath.Join(o.home, "state", "containers")
			o.env = []string{"ROOTCTL_STATE=" + records, "ROOTCTL_CACHE=" + o.cache()}
			o.must(t, o.args...)
			o.testKeptAfterReboot(t, records)
			o.testKeptRunning(t, records)
			o.testKeptOfOld(t, records)
			if out := o.must(t, "ps", "-a", "--json"); out != "[]\n" {
				t.Error(out)
			}
			for _, pattern := range []string{"*.kept", "*.container*", "*/u/*"} {
				if left, _ := filepath.Glob(filepath.Join(o.cache(), "scratch", pattern)); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			}
		})
	}
}

// reboot takes the records away and makes the notes those of another start of the machine, in which the numbers of the
// container's processes were those that a live one has now.
func (o *ordinary) reboot(t *testing.T, records string, live int) {
	t.Helper()
	if err := os.RemoveAll(filepath.Dir(records)); err != nil {
		t.Fatal(err)
	}
	notes, _ := filepath.Glob(filepath.Join(o.cache(), "scratch", "*.container"))
	for _, file := range notes {
		var k keptContainer
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &k)
		}
		if err != nil {
			t.Fatal(err)
		}
		start, err := state.StartTime(live)
		if err != nil {
			t.Fatal(err)
		}
		k.Container.BootID, k.Container.PID, k.Container.Monitor = "an earlier one", live, live
		k.Container.StartTime, k.Container.MonitorStart, k.Container.PidfdInode = start, start, 0
		if b, err = json.Marshal(k); err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (o *ordinary) testKeptAfterReboot(t *testing.T, records string) {
	live := exec.Command("sleep", "100")
	live.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
	if err := live.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { live.Process.Kill(); live.Wait() }()
	o.fails(t, 7, "", "run", "--keep", "--name", "work", "fixture", "sh", "-c", "echo x > /new; exit 7")
	o.reboot(t, records, live.Process.Pid)
	if out := o.must(t, "ps"); strings.Contains(out, "work") {
		t.Error(out)
	}
	if out := o.must(t, "cache", "df"); !strings.Contains(out, "work") || !strings.Contains(out, "until rootctl rm") {
		t.Errorf("df: %s", out)
	}
	if _, errs, code := o.run(t, "cache", "gc", "--all"); code != 0 || !strings.Contains(errs, "copies of containers (1, ") {
		t.Errorf("gc: exit code %d, %s", code, errs)
	}
	if out := o.must(t, "diff", "work"); out != "A /new\n" { // also as the first verb after the start
		t.Errorf("diff: %q", out)
	}
	o.fails(t, 7, "", "run", "--keep", "--name", "other", "fixture", "sh", "-c", "exit 7")
	o.reboot(t, records, live.Process.Pid)
	o.must(t, "run", "--keep", "--name", "other", "fixture", "true") // the name is free, as far as is known
	out := o.must(t, "ps", "-a")
	if strings.Count(out, "exited (7)") != 2 || strings.Count(out, " other ") != 1 || !strings.Contains(out, " work ") {
		t.Errorf("ps -a:\n%s", out)
	}
	if again := o.must(t, "ps", "-a"); again != out {
		t.Errorf("again:\n%s, was\n%s", again, out)
	}
	if out := o.must(t, "wait", "work"); out != "7\n" {
		t.Errorf("wait: %q", out)
	}
	o.must(t, "commit", "work", "mine")
	if out := o.must(t, "run", "-q", "mine", "cat", "/new"); out != "x\n" {
		t.Errorf("the committed root: %q", out)
	}
	o.must(t, "rm", "-f", "work")
	o.must(t, "rm", "-f", "--all")
	if err := live.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("a process that has a container's number now: %v", err)
	}
}

// testKeptRunning: who loses sight of the records for a moment takes no running container for one that has ended.
func (o *ordinary) testKeptRunning(t *testing.T, records string) {
	o.must(t, "run", "-d", "--name", "runs", "fixture", "sleep", "1000")
	aside := records + "-aside"
	if err := os.Rename(records, aside); err != nil {
		t.Fatal(err)
	}
	if out := o.must(t, "ps", "-a", "--json"); out != "[]\n" {
		t.Error(out)
	}
	if err := os.RemoveAll(records); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(aside, records); err != nil {
		t.Fatal(err)
	}
	o.must(t, "rm", "-f", "runs")
}

// testKeptOfOld: a copy that says nothing of its container, of an older rootctl or cut off, can be removed.
func (o *ordinary) testKeptOfOld(t *testing.T, records string) {
	for _, note := range []string{"", "{"} {
		o.must(t, "run", "--keep", "--name", "old", "fixture", "sh", "-c", "echo x > /new")
		if err := os.RemoveAll(filepath.Dir(records)); err != nil {
			t.Fatal(err)
		}
		notes, _ := filepath.Glob(filepath.Join(o.cache(), "scratch", "*.container"))
		for _, file := range notes {
			err := os.Remove(file)
			if note != "" {
				err = os.WriteFile(file, []byte(note), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var rows []psRow
		if err := json.Unmarshal([]byte(o.must(t, "ps", "-a", "--json")), &rows); err != nil || len(rows) != 1 {
			t.Fatalf("%+v, %v", rows, err)
		}
		o.fails(t, 1, "not known any more", "diff", rows[0].ID)
		o.fails(t, 1, "not known any more", "commit", rows[0].ID, "theirs")
		o.must(t, "rm", rows[0].ID)
	}
}
