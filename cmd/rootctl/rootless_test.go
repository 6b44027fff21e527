package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// testUser has ranges in /etc/subuid and /etc/subgid; `make tools-for-tests` makes it.
const testUser = "rootctl-test"

// ordinary is an ordinary user with a cache of their own.
type ordinary struct {
	*fixture
	uid, gid int
	ranges   *runner.UserMap
	home     string
}

// as gives the fixture to a user: one with ranges, or one that no file knows.
func (f *fixture) as(t *testing.T, single bool) *ordinary {
	t.Helper()
	own := *f
	o := &ordinary{fixture: &own, uid: 61234, gid: 61234}
	name := ""
	if !single {
		u, err := user.Lookup(testUser)
		if err != nil {
			t.Skipf("needs user %s with ranges in /etc/subuid and /etc/subgid: make tools-for-tests", testUser)
		}
		name = u.Username
		o.uid, _ = strconv.Atoi(u.Uid)
		o.gid, _ = strconv.Atoi(u.Gid)
	}
	var err error
	if o.ranges, err = runner.FindUserMap("/", name, o.uid, o.gid, nil); err != nil {
		t.Fatal(err)
	}
	if o.ranges.Single() != single {
		t.Skipf("needs user %s with ranges in /etc/subuid and /etc/subgid, and newuidmap: %s", testUser, o.ranges.Why)
	}
	o.settle(t)
	return o
}

// settle gives the user a home, and in it the program and the keyring: a test's own folders are not for other users.
func (o *ordinary) settle(t *testing.T) {
	t.Helper()
	var err error
	if o.home, err = os.MkdirTemp("", "rootctl-rootless-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(o.home) })
	if err := errors.Join(os.Chmod(o.home, 0o755), os.Chown(o.home, o.uid, o.gid)); err != nil {
		t.Fatal(err)
	}
	o.args = slices.Clone(o.args)
	for i, a := range o.args {
		if a == "--keyring" {
			o.args[i+1] = o.bring(t, o.args[i+1])
		}
	}
	o.self = o.bring(t, o.self)
}

func (o *ordinary) bring(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(o.home, filepath.Base(file))
	if err := errors.Join(os.WriteFile(to, b, 0o755), os.Chown(to, o.uid, o.gid)); err != nil {
		t.Fatal(err)
	}
	return to
}

func (o *ordinary) cache() string { return filepath.Join(o.home, ".cache", "rootctl") }

func (o *ordinary) command(args ...string) *exec.Cmd {
	c := exec.Command(o.self, args...)
	c.Dir = o.home
	c.Env = []string{"HOME=" + o.home, "PATH=/usr/bin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true,
		Credential: &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}}
	return c
}

func (o *ordinary) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := o.command(args...)
	return outcome(t, c)
}

func (o *ordinary) must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := o.run(t, args...)
	if code != 0 {
		t.Fatalf("rootctl %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// processes lists those of the user and of their ranges.
func (o *ordinary) processes(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			continue
		}
		_, line, _ := strings.Cut(string(b), "\nUid:")
		var uid uint32
		if _, err := fmt.Sscan(line, &uid); err != nil {
			continue
		}
		mine := int(uid) == o.uid
		for _, r := range o.ranges.UIDs {
			mine = mine || uid >= r.Base && uid-r.Base < r.Size
		}
		if mine {
			out = append(out, n+": "+strings.SplitN(string(b), "\n", 2)[0])
		}
	}
	return out
}

// checkLeft reports what is left of a run or build: the user has no process and no half-made file.
func (o *ordinary) checkLeft(t *testing.T, when string) {
	t.Helper()
	if left := o.left(t); len(left) > 0 {
		t.Errorf("%s: left behind: %q", when, left)
	}
}

func (o *ordinary) left(t *testing.T) (left []string) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left = append(o.processes(t), leftFiles(t, o.cache())...)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

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

// childOf gives a process's only child.
func childOf(pid int) int {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			return n
		}
	}
	// The thread that made it may be another one.
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range tasks {
		b, _ := os.ReadFile(t)
		if f := strings.Fields(string(b)); len(f) > 0 {
			n, _ := strconv.Atoi(f[0])
			return n
		}
	}
	return pid
}

// testOtherIDs runs a root built without ranges once the user has some, and the other way round.
func testOtherIDs(t *testing.T, f *fixture) {
	o := f.as(t, false)
	single := *o
	path := filepath.Join(o.home, "bin") // a newuidmap that refuses, as one that is not setuid does
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"newuidmap", "newgidmap"} {
		if err := os.WriteFile(filepath.Join(path, n), []byte("#!/bin/sh\necho write to uid_map failed >&2\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	without := func(args ...string) (string, int) {
		c := single.command(args...)
		c.Env = []string{"HOME=" + o.home, "PATH=" + path + ":/usr/bin:/bin"}
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	if out, code := without(o.args...); code != 0 || !strings.Contains(out, "write to uid_map failed") {
		t.Fatalf("build: exit code %d\n%s", code, out)
	}
	show := []string{"run", "-q", "fixture", "stat", "-c", "%u:%g %a", "/var/mail"}
	if out, code := without(show...); code != 0 || !strings.HasSuffix(out, "0:0 2775\n") {
		t.Errorf("without ranges: exit code %d, %s", code, out)
	}
	if out := o.must(t, show...); out != "0:8 2775\n" {
		t.Errorf("with ranges: %s", out)
	}
	if out, code := without(show...); code != codeRunFailed || !strings.Contains(out, "no longer have") || !strings.Contains(out, "hint: rootctl build") {
		t.Errorf("ranges lost: exit code %d, %s", code, out)
	}
	// The build that the hint names makes it anew.
	if out, code := without(o.args...); code != 0 || !strings.Contains(out, "fixture is ready: ") {
		t.Errorf("build without ranges: exit code %d, %s", code, out)
	}
	if out, code := without(show...); code != 0 || !strings.HasSuffix(out, "0:0 2775\n") {
		t.Errorf("without ranges, built anew: exit code %d, %s", code, out)
	}
	if out := o.must(t, show...); out != "0:8 2775\n" { // which restores the owners
		t.Errorf("with ranges again: %s", out)
	}
	testMovedRange(t, o, show)
}

// testMovedRange gives the user other ranges than those with which the root was built: elsewhere, and a few ids off, so
// that most owners have an id, but not theirs.
func testMovedRange(t *testing.T, o *ordinary, show []string) {
	r := o.ranges.UIDs[len(o.ranges.UIDs)-1]
	for _, by := range []uint32{1 << 20, 3} {
		dir := t.TempDir()
		line := fmt.Sprintf("%s:%d:65536\n", testUser, r.Base+by)
		for _, n := range []string{"subuid", "subgid"} {
			if err := os.WriteFile(filepath.Join(dir, n), []byte(line), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		moved := func(args ...string) (string, int) {
			script := `mount --bind "$0/subuid" /etc/subuid && mount --bind "$0/subgid" /etc/subgid && shift && exec setpriv --reuid "$1" --regid "$2" --clear-groups "${@:3}"`
			c := exec.Command("bash", append([]string{"-c", script, dir, "", strconv.Itoa(o.uid), strconv.Itoa(o.gid), o.self}, args...)...)
			c.Dir = o.home
			c.Env = []string{"HOME=" + o.home, "PATH=/usr/bin:/bin"}
			c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, _ := c.CombinedOutput()
			return string(out), c.ProcessState.ExitCode()
		}
		if by < 8 { // the owners that this root has are within both ranges: they are put right
			if out, code := moved(show...); code != 0 || out != "0:8 2775\n" {
				t.Errorf("range moved by %d: exit code %d, %s", by, code, out)
			}
			if out := o.must(t, show...); out != "0:8 2775\n" {
				t.Errorf("and back: %s", out)
			}
			continue
		}
		if out, code := moved(show...); code != codeRunFailed || !strings.Contains(out, "no longer have") || !strings.Contains(out, "hint: rootctl build") {
			t.Errorf("range moved by %d: exit code %d, %s", by, code, out)
		}
		if out, code := moved(o.args...); code != 0 || !strings.Contains(out, "fixture is ready: ") {
			t.Errorf("range moved by %d, build: exit code %d, %s", by, code, out)
		}
		if out, code := moved(show...); code != 0 || out != "0:8 2775\n" {
			t.Errorf("range moved by %d, built anew: exit code %d, %s", by, code, out)
		}
		if out, errs, code := o.run(t, show...); code != codeRunFailed || !strings.Contains(errs, "no longer have") {
			t.Errorf("back: exit code %d, %s%s", code, out, errs)
		}
		if out, errs, code := o.run(t, o.args...); code != 0 || !strings.Contains(errs, "fixture is ready: ") {
			t.Errorf("back, build: exit code %d, %s%s", code, out, errs)
		}
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
