package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// byPathEnv has the test binary, when it is rootctl, take the overlay branch of kernels that take layers by path only.
const byPathEnv = "ROOTCTL_TEST_BY_PATH"

// unsealedEnv has it, when it is rootctl, join containers without guarding its own file.
const unsealedEnv = "ROOTCTL_TEST_UNSEALED"

// shiftedEnv has it, when it is rootctl, use shifted trees, as where the ids of files cannot be mapped.
const shiftedEnv = "ROOTCTL_TEST_SHIFTED"

// shiftedSuffix ends the names of second trees of roots.
var shiftedSuffix = fmt.Sprintf(".u%d", cache.ShiftBase)

func mainTuned() {
	in, args := insideOf(os.Args)
	if in == nil {
		args = os.Args[1:]
	}
	os.Exit(execute(context.Background(), in, args, func(a *app) {
		a.byPath, a.unsealed = os.Getenv(byPathEnv) != "", os.Getenv(unsealedEnv) != ""
		a.shifted = os.Getenv(shiftedEnv) != ""
	}))
}

// A mode is a way to have containers: who calls, with which user namespace, over which branch of the overlay.
type mode struct {
	command func(args ...string) *exec.Cmd // run's flags come after the verb
	flags   []string
	cache   string
	uid     uint32 // of root inside, on the host; the lowest of a block if claimed
	claimed bool
	single  bool
	byPath  bool
	probe   string // this binary, where the caller can read it
	caller  uint32 // who calls rootctl
	records string // folder of records of containers, so that only this mode's are seen
	server  *testarchive.Server
	lines   map[string]bool
	outer   bool // /proc inside is the outer one
}

// lostOutside are lines that hold of a /proc of the container's own only: it counts by other numbers than the outer one.
var lostOutside = []string{"inherited descriptors", "namespace of PID 1's kin", "nesting", "unmounting a mask in a nested user namespace",
	"fresh proc in a nested user namespace", "writable /proc/sys in a nested user namespace"}

// line is a subtest of the list. TestMatrix compares their names with docs/tests.md.
func (m *mode) line(t *testing.T, name string, f func(*testing.T)) {
	t.Helper()
	if m.outer && slices.Contains(lostOutside, name) {
		return
	}
	m.lines[name] = true
	t.Run(name, f)
}

// run runs a command in a container.
func (m *mode) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return outcome(t, m.start(args...))
}

func (m *mode) start(args ...string) *exec.Cmd {
	c := m.verb(append(append([]string{"run", "-q", "--no-build"}, m.flags...), args...)...)
	if m.byPath {
		c.Env = append(c.Env, byPathEnv+"=1")
	}
	return c
}

func (m *mode) sh(t *testing.T, script string) string {
	t.Helper()
	out, errs, code := m.run(t, "fixture", "sh", "-c", script)
	if code != 0 {
		t.Errorf("sh -c %q: exit code %d\n%s%s", script, code, out, errs)
	}
	return out
}

// TestMatrix runs the lines of the runner's list in each mode and over each branch of the overlay.
func TestMatrix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers, and to become users with and without id ranges")
	}
	f := newFixture(t)
	shared := filepath.Join(t.TempDir(), "cache")
	f.build(t, shared)
	rootful := func(args ...string) *exec.Cmd { return f.command(shared, args...) }
	modes := []namedMode{
		{"root", func(*testing.T) *mode { return &mode{command: rootful, cache: shared, claimed: true, probe: f.self} }},
		{"root-hostusers", func(*testing.T) *mode {
			return &mode{command: rootful, cache: shared, flags: []string{"--userns=host"}, probe: f.self}
		}},
		{"rootless", func(t *testing.T) *mode { return f.as(t, false).mode(t) }},
		{"rootless-single", func(t *testing.T) *mode { return f.as(t, true).mode(t) }},
	}
	if os.Getenv("ROOTCTL_LADDER") != "" { // rung by rung: see ladder_test.go
		modes = append(modes[:0:0], f.rungs(shared)...)
	}
	all, ran := map[string]bool{}, 0
	for _, x := range modes {
		t.Run(x.name, func(t *testing.T) {
			ran++
			m := x.make(t)
			m.lines, m.server = map[string]bool{}, f.server
			if m.records == "" {
				m.records = filepath.Join(t.TempDir(), "containers")
			}
			m.importHostile(t)
			before := treeState(t, m.cache)
			for _, branch := range []string{"fd", "path"} {
				m.byPath = branch == "path"
				t.Run(branch, func(t *testing.T) { m.all(t) })
			}
			t.Run("cached root unchanged", func(t *testing.T) {
				if after := treeState(t, m.cache); after != before {
					t.Error("the cached roots were changed")
				}
				if out, errs, code := outcome(t, m.verb("cache", "verify", "--roots")); code != 0 {
					t.Errorf("verify: exit code %d\n%s%s", code, out, errs)
				}
			})
			if len(m.lines) < 100 {
				t.Errorf("only %d lines", len(m.lines))
			}
			t.Logf("%d lines", len(m.lines))
			maps.Copy(all, m.lines)
			if left := leftFiles(t, m.cache); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	if ran == len(modes) && os.Getenv("ROOTCTL_LADDER") == "" { // not if -run left out some
		checkDocumented(t, all)
	}
}

type namedMode struct {
	name string
	make func(t *testing.T) *mode
}

// checkDocumented wants each line that docs/tests.md names to be there.
func checkDocumented(t *testing.T, lines map[string]bool) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "tests.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for row := range strings.Lines(string(b)) {
		if !strings.HasPrefix(row, "| ") {
			continue
		}
		for i, cell := range strings.Split(row, "Test") {
			if name, is := strings.CutPrefix(strings.TrimRight(cell, " |,\n"), "Matrix/"); i > 0 && is {
				if named++; !lines[name] {
					t.Errorf("docs/tests.md names a line that is none: %q", name)
				}
			}
		}
	}
	if named < 40 {
		t.Errorf("docs/tests.md names only %d lines", named)
	}
}

// mode is an ordinary user's, with the root built in their cache.
func (o *ordinary) mode(t *testing.T) *mode {
	t.Helper()
	if _, errs, code := o.run(t, o.args...); code != 0 {
		t.Fatalf("build: exit code %d\n%s", code, errs)
	}
	return &mode{command: o.command, cache: o.cache(), uid: uint32(o.uid), single: o.ranges.Single(), probe: o.self,
		caller: uint32(o.uid), records: filepath.Join(o.home, "containers")}
}

// treeState tells every name of the cached roots with its kind, owner, size, times of change and contents.
func treeState(t *testing.T, cache string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Join(cache, "roots"), func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasSuffix(p, shiftedSuffix) { // made by the first run; verify says whether they are whole
			return filepath.SkipDir
		}
		if filepath.Base(p) == "roots" { // to which those are added
			return nil
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			st.Ctim = unix.Timespec{} // a lease may touch the use file's kin
		}
		b.WriteString(p + " " + strconv.Itoa(int(st.Mode)) + " " + strconv.Itoa(int(st.Uid)) + " " + strconv.FormatInt(st.Size, 10) + " " +
			strconv.FormatInt(st.Mtim.Nano(), 10) + " " + strconv.FormatInt(st.Ctim.Nano(), 10) + "\n")
		if st.Mode&unix.S_IFMT == unix.S_IFREG {
			sum := sha256Of(t, p)
			b.Write(sum[:])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// all are the lines of the list, a subtest each.
func (m *mode) all(t *testing.T) {
	m.line(t, "overlay branch", func(t *testing.T) {
		out := m.sh(t, "grep ' / overlay ' /proc/mounts")
		if byPath := strings.Contains(out, "lowerdir=l0"); byPath != m.byPath {
			t.Errorf("by path: %v\n%s", byPath, out)
		}
	})
	m.testHostile(t)
	m.testEscape(t)
	m.testEnds(t)
	m.testSurroundings(t)
	m.testCopy(t)
	m.testRefused(t)
	m.testPrograms(t)
	m.testInterpreter(t)
	m.testCalls(t)
	m.line(t, "killed from the host", m.testFromOutside)
	m.line(t, "changed user, cleared parent-death signal", m.testOutlives)
	m.line(t, "set-user-id on a bind", m.testSetuid)
	m.testMounts(t)
	m.testJoin(t)
	m.testRecords(t)
	m.testLimits(t)
	m.testSessions(t)
	m.testGain(t)
	m.testAccounts(t)
	m.line(t, "100 MB in and out", m.testPipes)
	m.line(t, "mount point swapped by another process", m.testSwapped)
	if !m.byPath { // the branch makes no difference to them
		m.line(t, "60 at once", m.testMany)
		m.testNet(t)
	}
}

// listen holds an abstract socket of the host's network.
func listen(t *testing.T, name string) {
	t.Helper()
	l, err := net.Listen("unix", "@"+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}
