package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestRootless does as an ordinary user what the other tests do as root.
func TestRootless(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become users with and without id ranges")
	}
	f := newFixture(t)
	want := f.build(t, filepath.Join(t.TempDir(), "cache"))
	for _, kind := range []string{"range", "single"} {
		t.Run(kind, func(t *testing.T) {
			o := f.as(t, kind == "single")
			_, errs, code := o.run(t, o.args...)
			if code != 0 {
				t.Fatalf("build: exit code %d\n%s", code, errs)
			}
			if told := strings.Contains(errs, "has no range in /etc/subuid"); told != (kind == "single") {
				t.Errorf("told of missing ranges: %v\n%s", told, errs)
			}
			if got := o.must(t, "ls"); !strings.Contains(got, want[:12]) {
				t.Errorf("digest of root's build is %s, the user's:\n%s", want[:12], got)
			}
			o.checkLeft(t, "build")
			t.Run("run", o.testRun)
			t.Run("shell", o.testShell)
			t.Run("bind", o.testBind)
			t.Run("own program", o.testOwnProgram)
			t.Run("signals", o.testSignals)
			t.Run("killed", o.testKilled)
			t.Run("care", o.testCare)
		})
	}
	t.Run("other ids later", func(t *testing.T) { testOtherIDs(t, f) })
}

func (o *ordinary) testRun(t *testing.T) {
	out := o.must(t, "run", "-q", "fixture", "sh", "-c", `echo $$ $(id -u) $(id -g); cd /proc/self/ns && readlink cgroup ipc mnt net pid user uts; ls -A /proc | grep -c '^[0-9]'`)
	lines := strings.Fields(out)
	if len(lines) != 11 || strings.Join(lines[:3], " ") != "1 0 0" {
		t.Fatalf("got %q", lines)
	}
	for _, link := range lines[3:10] {
		name, _, _ := strings.Cut(link, ":")
		if host, err := os.Readlink("/proc/self/ns/" + name); err != nil || host == link {
			t.Errorf("namespace %s is the host's (%v)", link, err)
		}
	}
	for code, script := range map[int]string{0: "exit 0", 7: "exit 7", 137: "kill -9 $$; exit 137", 127: ""} {
		args := []string{"run", "fixture", "sh", "-c", script}
		if code == 127 {
			args = []string{"run", "fixture", "no-such-command"}
		}
		if _, errs, got := o.run(t, args...); got != code {
			t.Errorf("%q: exit code %d, want %d\n%s", script, got, code, errs)
		}
	}
	// Changes of owners succeed in both modes; where there are ids they also show.
	owners := "0:8\n5:7\n"
	if o.ranges.Single() {
		owners = "0:0\n0:0\n"
	}
	if got := o.must(t, "run", "-q", "fixture", "sh", "-c", `set -e; touch /x; chown 5:7 /x; stat -c %u:%g /var/mail /x; rm -r /var/mail`); got != owners {
		t.Errorf("owners %q, want %q", got, owners)
	}
	if out := o.must(t, "run", "-q", "--net=host", "--userns=host", "fixture", "sh", "-c", "id -u; ls -d /sys/class/net"); out != "0\n/sys/class/net\n" {
		t.Errorf("with the host's network: %q", out)
	}
	o.checkLeft(t, "run")
}

func (o *ordinary) testBind(t *testing.T) {
	src := filepath.Join(o.home, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(src, o.uid, o.gid); err != nil {
		t.Fatal(err)
	}
	out := o.must(t, "run", "-q", "--bind", src+":/src", "--workdir", "/src", "fixture", "sh", "-c", "echo hi > f; stat -c %u:%g f; ls -ldn /src | cut -c1-10")
	if out != "0:0\ndrwxr-xr-x\n" {
		t.Errorf("inside: %q", out)
	}
	st, err := os.Stat(filepath.Join(src, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Sys().(*syscall.Stat_t); int(s.Uid) != o.uid || int(s.Gid) != o.gid {
		t.Errorf("a file made inside belongs to %d:%d, not to the user", s.Uid, s.Gid)
	}
	if _, errs, code := o.run(t, "run", "-q", "--bind", "/etc:/hostetc", "fixture", "sh", "-c", "echo x >> /hostetc/passwd"); code == 0 {
		t.Errorf("root inside wrote to a file of the host's root: %s", errs)
	}
}

// testOwnProgram: who gets hold of the program by way of a process inside cannot write to it, though it is the user's.
func (o *ordinary) testOwnProgram(t *testing.T) {
	c := o.command("run", "-q", "fixture", "sh", "-c", "echo ready; read x")
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
	b := make([]byte, 16)
	if n, _ := out.Read(b); string(b[:n]) != "ready\n" {
		t.Errorf("got %q", b[:n])
	}
	inner := childOf(c.Process.Pid)
	exe, err := unix.Open(fmt.Sprintf("/proc/%d/exe", inner), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil || inner == c.Process.Pid {
		t.Fatalf("process %d inside of %d: %v", inner, c.Process.Pid, err)
	}
	defer unix.Close(exe)
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", inner)); err != nil || string(name) != "rootctl\n" {
		t.Errorf("name of the process inside: %q, %v", name, err)
	}
	in.Close()
	_ = c.Wait() // read of the end of input makes it fail; now nobody executes the file
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", exe), unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != unix.EROFS {
		t.Errorf("writing to the program: %v, want %v", err, unix.EROFS)
		unix.Close(fd)
	}
}

// testSignals sends a signal to the process outside alone, and to the group, as a terminal does.
func (o *ordinary) testSignals(t *testing.T) {
	for _, group := range []bool{false, true} {
		c := o.command("run", "-q", "fixture", "sh", "-c", "trap 'echo got; n=1$n; [ $n = 1 ] && sleep 0.5; exit $n' INT; echo ready; while :; do sleep 0.05; done")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		limit := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
		b := make([]byte, 64)
		n, _ := out.Read(b)
		if string(b[:n]) != "ready\n" {
			t.Fatalf("got %q", b[:n])
		}
		pid := c.Process.Pid
		if group {
			pid = -pid
		}
		if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		n, _ = out.Read(b)
		if string(b[:n]) != "got\n" {
			t.Errorf("group %v: got %q", group, b[:n])
		}
		_ = c.Wait()
		limit.Stop()
		if code := c.ProcessState.ExitCode(); code != 1 {
			t.Errorf("group %v: exit code %d: the command got the signal more than once, or was killed", group, code)
		}
	}
	o.checkLeft(t, "signals")
}

// testKilled kills the process outside, or the one inside, while something runs and while something is built.
func (o *ordinary) testKilled(t *testing.T) {
	for round := range 8 {
		args := []string{"run", "-q", "fixture", "sh", "-c", "chown 1:1 /etc/passwd; sleep 30 & sleep 30"}
		delay := 300 * time.Millisecond
		if round%2 == 1 {
			args = append([]string{"build"}, o.args[1:]...)
			if err := os.RemoveAll(o.cache()); err != nil {
				t.Fatal(err)
			}
			delay = time.Duration(rand.Int64N(int64(2 * time.Second)))
		} else if round > 0 {
			o.must(t, o.args...)
		}
		c := o.command(args...)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		victim := c.Process.Pid
		if round >= 4 {
			victim = childOf(victim)
		}
		_ = syscall.Kill(victim, syscall.SIGKILL) // it may have ended by itself
		_ = c.Wait()
		if left := o.left(t); len(left) > 0 && onlyBareClaims(o.cache(), left) { // as in checkKilled
			o.must(t, o.args...)
		}
		o.checkLeft(t, fmt.Sprintf("round %d, %s after %v", round, args[0], delay))
	}
}

// TestNoUserNamespaces: what is cached can still be listed, and the rest says what to do.
func TestNoUserNamespaces(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to forbid namespaces to a user")
	}
	f := newFixture(t)
	o := f.as(t, true)
	o.must(t, o.args...)
	forbidden := func(args ...string) (string, int) {
		script := `echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --reuid "$0" --regid "$0" --clear-groups "$@"`
		c := exec.Command("sh", append([]string{"-c", script, strconv.Itoa(o.uid), o.self}, args...)...)
		c.Dir = o.home
		c.Env = []string{"HOME=" + o.home, "PATH=/usr/bin:/bin"}
		all := []syscall.SysProcIDMap{{Size: 100000}}
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: all, GidMappings: all, GidMappingsEnableSetgroups: true}
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	for _, args := range [][]string{{"ls"}, {"show", "fixture"}, o.args, append([]string{"build", "--offline"}, o.args[1:]...)} {
		if out, code := forbidden(args...); code != 0 {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
	for want, args := range map[int][]string{
		codeRunFailed: {"run", "fixture", "true"},
		codeFailed:    append([]string{"build", "--include", "hello", "--tag", "other"}, o.args[1:len(o.args)-3]...),
	} {
		if args[0] == "build" {
			args = append(args, "bionic")
		}
		out, code := forbidden(args...)
		if code != want || !strings.Contains(out, "max_user_namespaces=") {
			t.Errorf("%v: exit code %d, want %d\n%s", args, code, want, out)
		}
	}
}
