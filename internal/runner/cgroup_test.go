package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHierarchies(t *testing.T) {
	for _, c := range []struct{ summary, cgroup, mounts, want string }{
		{"version 2 alone", "0::/user.slice/user-1000.slice/session-2.scope\n",
			"30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
			"[{true [] /sys/fs/cgroup /sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope}]"},
		{"version 1, controllers together",
			"4:cpu,cpuacct:/system.slice/x.service\n3:memory:/system.slice/x.service\n1:name=systemd:/system.slice/x.service\n",
			"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
				"35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n",
			"[{false [rw cpu cpuacct] /sys/fs/cgroup/cpu,cpuacct /sys/fs/cgroup/cpu,cpuacct/system.slice/x.service} " +
				"{false [rw memory] /sys/fs/cgroup/memory /sys/fs/cgroup/memory/system.slice/x.service}]"},
		{"hybrid: version 2 without controllers", "4:memory:/a\n0::/b\n",
			"35 31 0:32 / /c/memory rw - cgroup cgroup rw,memory\n41 31 0:38 / /c/unified rw - cgroup2 cgroup2 rw\n",
			"[{false [rw memory] /c/memory /c/memory/a} {true [] /c/unified /c/unified/b}]"},
		{"a part of the tree is mounted", "0::/docker/abc/x\n", "30 24 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			"[{true [] /sys/fs/cgroup /sys/fs/cgroup/x}]"},
		{"a group outside of the namespace", "0::/../../x\n", "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
			"[{true [] /sys/fs/cgroup /sys/fs/cgroup}]"},
	} {
		if got := fmt.Sprint(hierarchies(c.cgroup, c.mounts)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.summary, got, c.want)
		}
	}
}

// lookalike is a folder shaped as a tree of control groups of version 2 with controllers, and its rules (cgroups(7)): what
// a parent hands on decides which files a child has, and a group with processes, other than the root, hands on nothing.
type lookalike struct {
	t   *testing.T
	top string
}

func newLookalike(t *testing.T, controllers string) lookalike {
	k := lookalike{t, t.TempDir()}
	k.fill(k.top, controllers)
	return k
}

func (k lookalike) fill(dir, controllers string) {
	for name, content := range map[string]string{"cgroup.controllers": controllers, "cgroup.subtree_control": "", "cgroup.procs": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			k.t.Fatal(err)
		}
	}
	files := map[string][]string{"memory": {"memory.max", "memory.swap.max", "memory.events"}, "cpu": {"cpu.max"}, "pids": {"pids.max"}}
	for c := range strings.FieldsSeq(controllers) {
		for _, f := range files[c] {
			if dir != k.top {
				if err := os.WriteFile(filepath.Join(dir, f), nil, 0o644); err != nil {
					k.t.Fatal(err)
				}
			}
		}
	}
}

func (k lookalike) mkdir(dir string) error {
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return err
	}
	given, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"))
	k.fill(dir, string(given))
	return err
}

func (k lookalike) write(file, value string) error {
	dir := filepath.Dir(file)
	if filepath.Base(file) == "cgroup.subtree_control" {
		c := strings.TrimPrefix(value, "+")
		have, _ := words(filepath.Join(dir, "cgroup.controllers"))
		procs, _ := words(filepath.Join(dir, "cgroup.procs"))
		given, _ := words(file)
		switch {
		case !slices.Contains(have, c):
			return unix.ENOENT
		case len(procs) > 0 && dir != k.top:
			return unix.EBUSY
		}
		value = strings.Join(append(given, c), " ")
	}
	if given, _ := words(filepath.Join(dir, "cgroup.subtree_control")); filepath.Base(file) == "cgroup.procs" && len(given) > 0 && dir != k.top {
		return unix.EBUSY
	}
	return kernelGroups{}.write(file, value)
}

// at makes a group below the top with a process or none.
func (k lookalike) at(path, procs string) string {
	dir := k.top
	for part := range strings.SplitSeq(path, "/") {
		dir = filepath.Join(dir, part)
		if !exists(dir) {
			if err := k.mkdir(dir); err != nil {
				k.t.Fatal(err)
			}
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(procs), 0o644); err != nil {
		k.t.Fatal(err)
	}
	return dir
}

func (k lookalike) give(dir, controllers string) {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(controllers), 0o644); err != nil {
		k.t.Fatal(err)
	}
}

var allLimits = Limits{Memory: 64 << 20, CPUs: 1.5, Pids: 20}

// TestLimitsOnVersion2 makes groups in a look-alike: beside the caller's own group, which holds processes.
func TestLimitsOnVersion2(t *testing.T) {
	k := newLookalike(t, "cpuset cpu io memory pids")
	k.give(k.top, "cpu memory pids")
	k.at("user.slice", "")
	k.give(k.at("user.slice", ""), "memory pids")
	own := k.at("user.slice/session-1.scope", "4711\n")
	// cpu is handed on to user.slice, which hands it on no further yet.
	hs := []hierarchy{{v2: true, top: k.top, own: own}}
	gs, err := allLimits.groups(hs, k, "rootctl-0123456789ab")
	if err != nil || len(gs) != 1 || gs[0].dir != filepath.Join(k.top, "user.slice/rootctl-0123456789ab") {
		t.Fatalf("%v, %+v", err, gs)
	}
	if err := gs[0].make(k); err != nil {
		t.Fatal(err)
	}
	defer gs[0].lock.Close()
	for file, want := range map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "cpu.max": "150000 100000", "pids.max": "20",
		"../cgroup.subtree_control": "memory pids cpu"} {
		if b, err := os.ReadFile(filepath.Join(gs[0].dir, file)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", file, b, err)
		}
	}
	if err := k.write(filepath.Join(gs[0].dir, "cgroup.procs"), "4712"); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(filepath.Join(own, "cgroup.procs")); string(b) != "4711\n" {
		t.Errorf("the caller was moved: %q", b)
	}
	if err := os.WriteFile(gs[0].events, []byte("low 0\nmax 3\noom 2\noom_kill 2\n"), 0o644); err != nil || gs[0].kills() != 2 {
		t.Errorf("kills: %d, %v", gs[0].kills(), err)
	}
	sweepGroups(filepath.Dir(gs[0].dir)) // it is held
	if !exists(gs[0].dir) {
		t.Error("swept while it was held")
	}
}

// TestLimitsInRootGroup: only the root of the tree may hold processes and hand controllers on.
func TestLimitsInRootGroup(t *testing.T) {
	k := newLookalike(t, "cpu memory pids")
	k.give(k.top, "")
	if err := os.WriteFile(filepath.Join(k.top, "cgroup.procs"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	gs, err := Limits{Pids: 5}.groups([]hierarchy{{v2: true, top: k.top, own: k.top}}, k, "rootctl-x")
	if err != nil || len(gs) != 1 || gs[0].make(k) != nil {
		t.Fatalf("%v, %+v", err, gs)
	}
	defer gs[0].lock.Close()
	if exists(filepath.Join(gs[0].dir, "memory.max")) || !exists(filepath.Join(gs[0].dir, "pids.max")) {
		t.Error("more, or less, was handed on than the limits ask for")
	}
}

// TestLimitsRefused says why, and what to do.
func TestLimitsRefused(t *testing.T) {
	without := newLookalike(t, "")
	busy := newLookalike(t, "memory pids")
	inner := busy.at("docker", "1\n2\n")
	busy.fill(inner, "memory pids")
	if err := os.WriteFile(filepath.Join(inner, "cgroup.procs"), []byte("1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		h       hierarchy
		k       groupFiles
		want    error
		hint    string
	}{
		{"version 2 without controllers", hierarchy{v2: true, top: without.top, own: without.top}, without, unix.ENODEV, "cgroup.controllers"},
		{"in a container's own group", hierarchy{v2: true, top: inner, own: inner}, busy, unix.EBUSY, "--cgroupns=host"},
		{"no folder", hierarchy{v2: true, top: "/nowhere", own: "/nowhere"}, busy, os.ErrNotExist, "cgroup.controllers"},
	} {
		_, err := Limits{Memory: 64 << 20}.groups([]hierarchy{c.h}, c.k, "rootctl-x")
		var e *LimitsError
		if !errors.As(err, &e) || !errors.Is(err, c.want) || !strings.Contains(e.Hint(), c.hint) || !strings.HasPrefix(e.Error(), "limits need") {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
	for _, c := range []struct {
		e    LimitsError
		hint string
	}{
		{LimitsError{Err: unix.EACCES}, "systemd-run --user --scope"},
		{LimitsError{Err: unix.EACCES, Legacy: true}, "sudo"},
		{LimitsError{Err: unix.EROFS, Legacy: true}, "docker run"},
	} {
		if got := c.e.Hint(); !strings.Contains(got, c.hint) {
			t.Errorf("%v: %s", c.e.Err, got)
		}
	}
}

// TestLimitsDelegated: an ordinary user gets a group in what is his, as systemd-run --user --scope gives, and none
// where it is not.
func TestLimitsDelegated(t *testing.T) {
	needRoot(t)
	k := newLookalike(t, "cpu memory pids")
	k.give(k.top, "memory pids")
	k.give(k.at("user.slice", ""), "memory pids")
	service := k.at("user.slice/user@1000.service", "")
	k.give(service, "memory pids")
	app := k.at("user.slice/user@1000.service/app.slice", "")
	k.give(app, "memory pids")
	scope := k.at("user.slice/user@1000.service/app.slice/run-1.scope", "4711\n")
	session := k.at("user.slice/session-1.scope", "4712\n")
	for _, dir := range []string{service, app, scope} {
		for _, name := range []string{"", "cgroup.procs", "cgroup.subtree_control"} {
			if err := os.Chown(filepath.Join(dir, name), 1000, 1000); err != nil {
				t.Fatal(err)
			}
		}
	}
	for d := k.top; len(d) > 4; d = filepath.Dir(d) {
		os.Chmod(d, 0o755)
	}
	for own, want := range map[string]string{scope: app, session: ""} {
		done := make(chan error)
		var gs []*group
		go func() { // on a thread that ends with it
			done <- asUser(1000, func() (err error) {
				gs, err = Limits{Memory: 64 << 20, Pids: 9}.groups([]hierarchy{{v2: true, top: k.top, own: own}}, k, "rootctl-x")
				return err
			})
		}()
		err := <-done
		if want == "" {
			if !errors.Is(err, unix.EACCES) {
				t.Errorf("%s: %v, %+v", own, err, gs)
			}
		} else if err != nil || len(gs) != 1 || filepath.Dir(gs[0].dir) != want {
			t.Errorf("%s: %v, %+v", own, err, gs)
		}
	}
}

// asUser does something as an ordinary user, on a thread that is never used again.
func asUser(id int, f func() error) error {
	runtime.LockOSThread()
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(id), uintptr(id), uintptr(id)); e != 0 {
		return e
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
		return e
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(id), uintptr(id), uintptr(id)); e != 0 {
		return e
	}
	return f()
}

func TestRemoveGroupsOnlyOurs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"mine", "rootctl-1"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := RemoveGroups([]string{dir + "/mine", dir + "/rootctl-1", dir + "/rootctl-2", dir + "/rootctl-1/../mine"})
	if err != nil || !exists(dir+"/mine") || exists(dir+"/rootctl-1") {
		t.Error(err)
	}
}
