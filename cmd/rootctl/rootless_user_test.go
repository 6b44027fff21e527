package main

import (
	"errors"
	"fmt"
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
	env      []string // beside HOME and PATH
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
	c.Env = append([]string{"HOME=" + o.home, "PATH=/usr/bin:/bin"}, o.env...)
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
