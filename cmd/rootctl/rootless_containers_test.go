package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/runner"
)

// TestRootlessContainers has an ordinary user, with a range of ids and with a single one, manage containers.
func TestRootlessContainers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become users with and without id ranges")
	}
	f := newFixture(t)
	for _, kind := range []string{"subuids", "single"} {
		t.Run(kind, func(t *testing.T) {
			o := f.as(t, kind == "single")
			runtime := filepath.Join(o.home, "runtime")
			if err := os.Mkdir(runtime, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(runtime, o.uid, o.gid); err != nil {
				t.Fatal(err)
			}
			o.env = []string{"XDG_RUNTIME_DIR=" + runtime}
			o.must(t, o.args...)
			t.Cleanup(func() { o.run(t, "rm", "-f", "--all") })
			t.Run("run", o.testDetached)
			t.Run("ps", o.testPs)
			t.Run("exec", o.testExec)
			t.Run("top", o.testTop)
			t.Run("logs", o.testLogs)
			t.Run("inspect", o.testInspect)
			t.Run("diff", o.testDiff)
			t.Run("kill", o.testKill)
			t.Run("stop", o.testStop)
			t.Run("wait", o.testWait)
			t.Run("commit", o.testCommit)
			t.Run("terminal", o.testDetachedTerminal)
			t.Run("ci", o.testCI)
			t.Run("rm", o.testRm)
			t.Run("no runtime folder", o.testNoRuntimeFolder)
			o.checkGone(t)
		})
	}
}

// said waits until a container's log has a line.
func (o *ordinary) said(t *testing.T, name, line string) {
	t.Helper()
	var out string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if out = o.must(t, "logs", name); strings.Contains(out, line) {
			return
		}
	}
	t.Fatalf("the log of %s has no %q: %s", name, line, out)
}

// fails runs a verb that must fail with a code and a word.
func (o *ordinary) fails(t *testing.T, code int, word string, args ...string) {
	t.Helper()
	if out, errs, got := o.run(t, args...); got != code || !strings.Contains(errs, word) {
		t.Errorf("%q: exit code %d, want %d, and %q in\n%s%s", args, got, code, word, out, errs)
	}
}

func (o *ordinary) testDetached(t *testing.T) {
	id := o.must(t, "run", "-d", "--name", "web", "fixture", "sh", "-c",
		"trap 'echo usr1' USR1; trap 'echo bye; exit 3' TERM; echo made > /made; echo begun; while :; do sleep 0.05; done")
	if !regexp.MustCompile("^[0-9a-f]{12}\n$").MatchString(id) {
		t.Errorf("printed %q", id)
	}
	o.said(t, "web", "begun")
	st, err := os.Stat(filepath.Join(o.home, "runtime", "rootctl", "containers", strings.TrimSpace(id)))
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Sys().(*syscall.Stat_t); int(s.Uid) != o.uid || s.Mode&0o777 != 0o700 {
		t.Errorf("the record belongs to %d, mode %o", s.Uid, s.Mode)
	}
	o.fails(t, 125, "the name web is taken", "run", "--name", "web", "fixture", "true")
	o.fails(t, 127, "nowhere", "run", "-d", "fixture", "nowhere")
}

func (o *ordinary) testPs(t *testing.T) {
	if out := o.must(t, "ps"); !regexp.MustCompile(`(?m)^[0-9a-f]{12}  web +fixture +up `).MatchString(out) || strings.Contains(out, "nowhere") {
		t.Error(out)
	}
	var rows []psRow
	if err := json.Unmarshal([]byte(o.must(t, "ps", "-a", "--json")), &rows); err != nil || len(rows) != 1 || !rows[0].Running || rows[0].PID == 0 {
		t.Errorf("%+v, %v", rows, err)
	}
}

func (o *ordinary) testExec(t *testing.T) {
	if out := o.must(t, "exec", "web", "sh", "-c", "id -u; cat /made; ls -d /proc/1; cat /proc/sys/kernel/hostname"); out != "0\nmade\n/proc/1\nrootctl\n" {
		t.Errorf("inside: %q", out)
	}
	// Its namespaces and rights are those of the container's own command.
	const rights = `cd /proc/$p/ns && readlink cgroup ipc mnt net pid user uts; grep -E '^(Cap|Seccomp|NoNew)' /proc/$p/status`
	if one, other := o.must(t, "exec", "web", "sh", "-c", "p=1; "+rights), o.must(t, "exec", "web", "sh", "-c", "p=self; "+rights); one != other {
		t.Errorf("the init has\n%s, what joined\n%s", one, other)
	}
	o.fails(t, 7, "", "exec", "web", "sh", "-c", "exit 7")
	o.fails(t, 127, "not found", "exec", "web", "nowhere")
	o.fails(t, 125, "there is no container nobody", "exec", "nobody", "true")
	c := o.command("exec", "web", "cat")
	c.Stdin = strings.NewReader("through\n")
	if out, errs, code := outcome(t, c); out != "through\n" || code != 0 {
		t.Errorf("stdin: %q %s, exit code %d", out, errs, code)
	}
	if o.ranges.Single() {
		o.fails(t, 125, "hint: have ranges in /etc/subuid", "exec", "--user", "5", "web", "id", "-u")
	} else if out := o.must(t, "exec", "--user", "5:7", "web", "sh", "-c", "id -u; id -g; ! touch /x 2>/dev/null; touch /tmp/theirs"); out != "5\n7\n" {
		t.Errorf("as another user: %q", out)
	}
}

func (o *ordinary) testTop(t *testing.T) {
	var rows []psRow
	if err := json.Unmarshal([]byte(o.must(t, "ps", "--json")), &rows); err != nil || len(rows) != 1 {
		t.Fatalf("%+v, %v", rows, err)
	}
	c := o.command("exec", "web", "sh", "-c", "echo ready; read x; :", "a\x1b[31mb\nc")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
	defer limit.Stop()
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatal(err)
	}
	list := o.must(t, "top", "web")
	if want := fmt.Sprintf("\n1 +%d +root +sh -c trap ", rows[0].PID); !regexp.MustCompile(want).MatchString(list) {
		t.Errorf("top has no %q:\n%s", want, list)
	}
	if !regexp.MustCompile("\n[0-9]+ +[0-9]+ +root +sh -c echo ready; read x; : a\uFFFD\\[31mb c\n").MatchString(list) {
		t.Errorf("top has not what joined: %q", list)
	}
	var procs []runner.Resident
	if err := json.Unmarshal([]byte(o.must(t, "top", "--json", "web")), &procs); err != nil || len(procs) < 2 || procs[0].HostPID != rows[0].PID {
		t.Errorf("%+v, %v", procs, err)
	}
	in.Close()
	_ = c.Wait() // read at the end of input fails
	if out := o.must(t, "__complete", "exec", "w"); !strings.HasPrefix(out, "web\tfixture\n") {
		t.Errorf("completion: %q", out)
	}
}

func (o *ordinary) testLogs(t *testing.T) {
	if out := o.must(t, "logs", "web"); out != "begun\n" {
		t.Errorf("logs: %q", out)
	}
}

func (o *ordinary) testInspect(t *testing.T) {
	var list []struct {
		Running bool `json:"running"`
		Spec    struct{ Nested bool }
	}
	if err := json.Unmarshal([]byte(o.must(t, "inspect", "web")), &list); err != nil || len(list) != 1 || !list[0].Running {
		t.Errorf("%+v, %v", list, err)
	}
}

func (o *ordinary) testDiff(t *testing.T) {
	out, errs, code := o.run(t, "diff", "web")
	if code != 0 || out != "A /made\n" || errs != "" { // what was said at the run is not said again
		t.Errorf("exit code %d, changed: %q\n%s", code, out, errs)
	}
}

// testKill sends a signal to an init of the user's own id, and to one that has become another.
func (o *ordinary) testKill(t *testing.T) {
	o.must(t, "kill", "-s", "USR1", "web")
	o.said(t, "web", "usr1")
	for _, user := range []string{"0", "7"} {
		if user != "0" && o.ranges.Single() {
			continue
		}
		name := "user" + user
		o.must(t, "run", "-d", "--name", name, "--user", user, "fixture", "sleep", "1000")
		o.must(t, "kill", name)
		if out := o.must(t, "wait", name); out != "137\n" {
			t.Errorf("killed as user %s: %q", user, out)
		}
	}
	o.fails(t, 1, "it does not run", "kill", "user0")
	o.must(t, "rm", "--stopped")
}

func (o *ordinary) testStop(t *testing.T) {
	c := o.command("logs", "-f", "web")
	var follow strings.Builder
	c.Stdout = &follow
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	o.must(t, "stop", "web")
	limit := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
	defer limit.Stop()
	if err := c.Wait(); err != nil || !strings.HasSuffix(follow.String(), "bye\n") {
		t.Errorf("logs -f: %v, %q", err, follow.String())
	}
	if out := o.must(t, "ps", "-a"); !strings.Contains(out, "exited (3)") {
		t.Error(out)
	}
	o.fails(t, 125, "is not running", "exec", "web", "true")
	o.fails(t, 1, "it does not run", "top", "web")
}

func (o *ordinary) testWait(t *testing.T) {
	o.must(t, "run", "-d", "--name", "two", "fixture", "sh", "-c", "exit 9")
	if out := o.must(t, "wait", "web", "two"); out != "3\n9\n" {
		t.Errorf("wait: %q", out)
	}
}

func (o *ordinary) testCommit(t *testing.T) {
	if _, errs, code := o.run(t, "commit", "web", "mine"); code != 0 || strings.Contains(errs, "/etc/subuid") || !strings.Contains(errs, ", 1 change, ") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	if out := o.must(t, "run", "-q", "mine", "cat", "/made"); out != "made\n" {
		t.Errorf("the committed root: %q", out)
	}
}

func (o *ordinary) testDetachedTerminal(t *testing.T) {
	o.must(t, "run", "-d", "-t", "--name", "tty", "fixture", "sh", "-c", "test -t 0 && test -t 1 && echo on a terminal; read x; echo ended")
	o.said(t, "tty", "on a terminal")
	if out := o.must(t, "exec", "-t", "tty", "sh", "-c", "test -t 0 && test -t 1 && echo on another"); out != "on another\r\n" {
		t.Errorf("joined: %q", out)
	}
	o.must(t, "stop", "tty")
	if out := o.must(t, "logs", "tty"); out != "on a terminal\r\n" {
		t.Errorf("log: %q", out)
	}
}

func (o *ordinary) testRm(t *testing.T) {
	o.must(t, "run", "-d", "--name", "runs", "fixture", "sh", "-c", "mkdir /x; chown 5:5 /x; chmod 0 /x; echo ready; sleep 1000")
	o.said(t, "runs", "ready")
	o.fails(t, 1, "it is running", "rm", "runs")
	o.fails(t, 2, "hint: rootctl untag fixture", "rm", "fixture")
	o.must(t, "rm", "web")
	o.must(t, "rm", "-f", "--all")
	if out := o.must(t, "ps", "-a", "--json"); out != "[]\n" {
		t.Errorf("left: %s", out)
	}
	for _, pattern := range []string{"scratch/*.kept", "scratch/*/u/*"} {
		if left, _ := filepath.Glob(filepath.Join(o.cache(), pattern)); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

// testNoRuntimeFolder is a session without XDG_RUNTIME_DIR, or with that of whoever called su or sudo -u.
func (o *ordinary) testNoRuntimeFolder(t *testing.T) {
	fallback := *o
	for _, env := range [][]string{nil, {"XDG_RUNTIME_DIR=/run"}, {"XDG_RUNTIME_DIR=/nowhere/at/all"}} {
		fallback.env = env
		name := fmt.Sprintf("fallback-%d", os.Getpid()) // the folder is the machine's
		fallback.must(t, "run", "-d", "--name", name, "fixture", "sleep", "1000")
		if out := fallback.must(t, "exec", name, "echo", "joined"); out != "joined\n" {
			t.Errorf("%q: %q", env, out)
		}
		if out := fallback.must(t, "ps"); !strings.Contains(out, name) {
			t.Errorf("%q: %s", env, out)
		}
		fallback.must(t, "rm", "-f", name)
		if out := fallback.must(t, "ps", "-a"); strings.Contains(out, name) {
			t.Errorf("%q: %s", env, out)
		}
		for _, dir := range []string{fmt.Sprintf("/tmp/rootctl-%d", o.uid), fmt.Sprintf("/tmp/rootctl-%d/containers", o.uid)} {
			if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 || int(st.Sys().(*syscall.Stat_t).Uid) != o.uid {
				t.Errorf("%s: %v, %v", dir, st, err)
			}
		}
	}
}

// checkGone: the user has no process of the program that these tests use. Other tests may be at work as the same user.
func (o *ordinary) checkGone(t *testing.T) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		left = left[:0]
		environs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, file := range environs {
			if b, _ := os.ReadFile(file); strings.Contains(string(b), o.home) {
				line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
				left = append(left, file+": "+string(line))
			}
		}
		if left = append(left, leftFiles(t, o.cache())...); len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind: %q", left)
}

// TestRecordsOfAnother: in /tmp anybody can make the folder of records first.
func TestRecordsOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become other users")
	}
	f := newFixture(t)
	o := f.as(t, true)
	o.uid = 62000 + os.Getpid()%3000
	dir := fmt.Sprintf("/tmp/rootctl-%d", o.uid)
	for _, make := range []func() error{
		func() error { return os.Mkdir(dir, 0o755) },                // root's
		func() error { return os.Symlink(o.home, dir) },             // a link
		func() error { return os.WriteFile(dir, []byte("x"), 0o6) }, // no folder
		func() error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			if err := os.Chown(dir, o.uid, o.gid); err != nil {
				return err
			}
			return os.Chmod(dir, 0o777) // the user's, but anybody may write to it
		},
	} {
		if err := make(); err != nil {
			t.Fatal(err)
		}
		o.fails(t, 1, "hint: set XDG_RUNTIME_DIR", "ps")
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	}
}
