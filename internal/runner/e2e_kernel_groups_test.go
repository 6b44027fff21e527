//go:build e2e_kernel

package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// These need control groups of version 2 with controllers, which the virtual machine has.

const groupsTop = "/sys/fs/cgroup"

// TestLimitsOnRealVersion2: root's group is made below the top, and the kernel has the limits.
func TestLimitsOnRealVersion2(t *testing.T) {
	s := shell(t, idle)
	s.Limits = Limits{Memory: 64 << 20, CPUs: 0.5, Pids: 20}
	r := startContainer(t, s)
	dirs := r.Cgroups
	if len(dirs) != 1 || filepath.Dir(dirs[0]) != groupsTop {
		t.Fatalf("groups %q", dirs)
	}
	for file, want := range map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "20"} {
		b, err := os.ReadFile(filepath.Join(dirs[0], file))
		if os.IsNotExist(err) && file == "memory.swap.max" {
			continue // a kernel without swap
		}
		if got := strings.TrimSpace(string(b)); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", file, got, err, want)
		}
	}
	r.end()
	noGroups(t, dirs)
}

// usersRoot is a root of a user's cache: all in it is theirs.
func usersRoot(t *testing.T, uid int) string {
	t.Helper()
	root := copyRoot(t)
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error { return errors.Join(err, os.Lchown(p, uid, uid)) })
	for d := filepath.Dir(root); err == nil && d != "/tmp"; d = filepath.Dir(d) {
		err = os.Chmod(d, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// delegatedEnv has this program play a user's first and second process.
const delegatedEnv = "RUNNER_TEST_DELEGATED"

// report is what the second process says of its container.
type report struct {
	Status Status
	Groups []string
	Err    string
	Notes  []string
}

// TestLimitsOfUser: an ordinary user's limits are kept in groups that were delegated, as systemd does it, and refused with a
// hint where none were.
func TestLimitsOfUser(t *testing.T) {
	const uid = 1000
	if err := os.WriteFile(filepath.Join(groupsTop, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0); err != nil {
		t.Fatal(err)
	}
	slice := filepath.Join(groupsTop, "user-1000.slice")
	scope := filepath.Join(slice, "run.scope")
	if err := errors.Join(os.Mkdir(slice, 0o755), os.Mkdir(scope, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Rmdir(scope); unix.Rmdir(slice) })
	root := usersRoot(t, uid)
	run := func(l Limits, script string) report {
		t.Helper()
		work, err := os.MkdirTemp("/tmp", "user-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(work)
		if err := os.Chown(work, uid, uid); err != nil {
			t.Fatal(err)
		}
		s := Spec{Lower: []string{root}, Work: work, Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Limits: l, Nested: true, IDs: IDRange{Size: 1}}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		at, err := os.Open(scope)
		if err != nil {
			t.Fatal(err)
		}
		defer at.Close()
		c := exec.Command("/proc/self/exe", "-test.run=^TestDelegated$")
		c.Env = []string{"PATH=/bin", delegatedEnv + "=" + string(b)}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}, UseCgroupFD: true, CgroupFD: int(at.Fd())}
		out, err := c.CombinedOutput()
		var r report
		_, line, _ := strings.Cut(string(out), "report: ")
		line, _, _ = strings.Cut(line, "\n")
		if e := json.Unmarshal([]byte(line), &r); e != nil {
			t.Fatalf("%v, %v: %s", err, e, out)
		}
		return r
	}
	if r := run(Limits{Pids: 20}, "true"); !strings.Contains(r.Err, "hint: ") {
		t.Errorf("nothing was delegated: %+v", r)
	}
	for _, dir := range []string{slice, scope} {
		for _, f := range []string{".", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"} {
			if err := os.Chown(filepath.Join(dir, f), uid, uid); err != nil {
				t.Fatal(err)
			}
		}
	}
	l := Limits{Memory: 64 << 20, CPUs: 0.5, Pids: 20}
	for _, x := range []struct {
		script string
		code   int
		over   bool
	}{{"exit 7", 7, false}, {"exec " + hog, 137, true}, {many, 2, false}} {
		r := run(l, x.script)
		if r.Err != "" || r.Status.Code != x.code || r.Status.OverMemory != x.over || len(r.Groups) != 1 || filepath.Dir(r.Groups[0]) != slice {
			t.Errorf("%s: %+v", x.script, r)
		}
		noGroups(t, r.Groups)
	}
}

// TestDelegated is the user's processes, if it is told so.
func TestDelegated(t *testing.T) {
	text := os.Getenv(delegatedEnv)
	if text == "" {
		return
	}
	if os.Geteuid() != 0 {
		runtime.LockOSThread()
		m := &UserMap{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
		in, err := Enter(m, os.Args, os.Environ())
		if err != nil {
			t.Fatal(err)
		}
		in.Wait()
		return
	}
	var r report
	var s Spec
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		o := Options{Stderr: os.Stderr, Note: func(n string) { r.Notes = append(r.Notes, n) },
			Started: func(p Process) error { r.Groups = p.Cgroups; return nil }}
		r.Status, err = Run(context.Background(), s, o)
	}
	if err != nil {
		r.Err = err.Error()
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			r.Err += "\nhint: " + h.Hint()
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("report: %s\n", b)
}
