package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

const madeShifted = "a second tree of root"

// shifted is rootctl where the ids of files cannot be mapped.
func (f *fixture) shifted(dir string, args ...string) *exec.Cmd {
	c := f.command(dir, args...)
	c.Env = append(c.Env, shiftedEnv+"=1")
	return c
}

func shiftedTree(dir, root string) string {
	return filepath.Join(dir, "roots", fmt.Sprintf("%s.u%d", root, cache.ShiftBase))
}

// TestShifted: where ids cannot be mapped a root gets a second tree, made once, in which a run sees what it sees elsewhere.
func TestShifted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers with ids of their own")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	root := f.build(t, dir)
	const look = `for d in / /etc /var /var/lib/dpkg /usr/bin; do ls -ln --time-style=+%s $d; done | grep -v ' \(proc\|sys\|dev\|tmp\|run\|etc\|hosts\|hostname\|resolv.conf\)$'; id -u; cat /proc/self/uid_map; chown 33:42 /etc/passwd && ls -ln /etc/passwd | cut -d' ' -f3,4`
	plain, errs, code := outcome(t, f.command(dir, "run", "fixture", "sh", "-c", look))
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	withoutMap := func(s string) (string, string) {
		var kept, ids []string
		for line := range strings.Lines(s) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "0" && f[2] == "65536" {
				ids = append(ids, f[1])
				continue
			}
			kept = append(kept, line)
		}
		return strings.Join(kept, ""), strings.Join(ids, " ")
	}
	want, _ := withoutMap(plain)
	for i, said := range []int{1, 0, 0} {
		out, errs, code := outcome(t, f.shifted(dir, "run", "fixture", "sh", "-c", look))
		got, base := withoutMap(out)
		if code != 0 || strings.Count(errs, madeShifted) != said || base != fmt.Sprint(cache.ShiftBase) {
			t.Errorf("run %d: exit code %d, ids from %s\n%s", i, code, base, errs)
		}
		if got != want {
			t.Errorf("run %d: inside\n%s\nwant\n%s", i, got, want)
		}
	}
	t.Run("as other containers", func(t *testing.T) { f.testShiftedLife(t, dir) })
	t.Run("damaged", func(t *testing.T) { f.testShiftedDamaged(t, dir, root) })
	t.Run("removed", func(t *testing.T) {
		if out, errs, code := outcome(t, f.command(dir, "cache", "gc", "--all")); code != 0 {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "roots", "*")); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// testShiftedLife: two at once, diff and commit, a bind whose owner root of the container has to be.
func (f *fixture) testShiftedLife(t *testing.T, dir string) {
	steps := [][]string{
		{"run", "-q", "--keep", "--name", "shifted-" + filepath.Base(t.TempDir()), "fixture", "sh", "-c", "echo x >/etc/new && chown 33:42 /etc/new"},
	}
	name := steps[0][4]
	steps = append(steps, []string{"diff", name}, []string{"commit", name, "committed"}, []string{"rm", name},
		[]string{"run", "-q", "committed", "sh", "-c", "ls -ln /etc/new | cut -d' ' -f3,4"})
	for i, args := range steps {
		out, errs, code := outcome(t, f.shifted(dir, args...))
		if code != 0 || i == 1 && !strings.Contains(out, "/etc/new") || i == 4 && out != "33 42\n" {
			t.Errorf("%q: exit code %d\n%s%s", args, code, out, errs)
		}
	}
}

// testShiftedDamaged: a verification finds what is wrong with the second tree, and takes it alone.
func (f *fixture) testShiftedDamaged(t *testing.T, dir, root string) {
	tree := shiftedTree(dir, root)
	if out, errs, code := outcome(t, f.command(dir, "cache", "verify", "--roots")); code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	for name, harm := range map[string]func() error{
		"content": func() error { return os.WriteFile(tree+"/etc/passwd", []byte("root::0:0:::\n"), 0o644) },
		"owner":   func() error { return os.Lchown(tree+"/etc/passwd", 0, 0) },
	} {
		if err := harm(); err != nil {
			t.Fatal(err)
		}
		out, errs, code := outcome(t, f.command(dir, "cache", "verify", "--roots"))
		if _, err := os.Lstat(tree); code != codeFailed || err == nil {
			t.Errorf("%s: exit code %d, %v\n%s%s", name, code, err, out, errs)
		}
		if _, errs, code := outcome(t, f.shifted(dir, "run", "fixture", "true")); code != 0 || !strings.Contains(errs, madeShifted) {
			t.Errorf("%s: made again: exit code %d\n%s", name, code, errs)
		}
	}
}

// TestShiftedAtOnce: many that want it at once, and those that are killed as they make it, leave one whole tree.
func TestShiftedAtOnce(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers with ids of their own")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	root := f.build(t, dir)
	for range 6 {
		if err := os.RemoveAll(shiftedTree(dir, root)); err != nil {
			t.Fatal(err)
		}
		c := f.shifted(dir, "run", "-q", "fixture", "true")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		_ = c.Process.Kill() // it may have ended
		_ = c.Wait()
	}
	if err := os.RemoveAll(shiftedTree(dir, root)); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if out, err := f.shifted(dir, "run", "-q", "fixture", "true").CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	all.Wait()
	for until := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		// What was killed before it had a keeper.
		if out, err := f.command(dir, "cache", "gc").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		left := leftFiles(t, dir) // a keeper may be at it
		if len(left) == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("left behind: %q", left)
		}
	}
	if out, errs, code := outcome(t, f.command(dir, "cache", "verify", "--roots")); code != 0 {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

// TestShiftedOnOverlay: a cache on overlay, as inside Docker, gets one without being told to.
func TestShiftedOnOverlay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to mount overlay")
	}
	f := newFixture(t)
	top := t.TempDir()
	for _, d := range []string{"l", "u", "w", "m"} {
		if err := os.Mkdir(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := filepath.Join(top, "m")
	if err := unix.Mount("overlay", at, "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/l,upperdir=%[1]s/u,workdir=%[1]s/w", top)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	dir := filepath.Join(at, "cache")
	f.build(t, dir)
	for i, said := range []int{1, 0} {
		out, errs, code := outcome(t, f.command(dir, "run", "fixture", "sh", "-c", "echo x >/etc/new; id -u"))
		if code != 0 || out != "0\n" || strings.Count(errs, madeShifted) != said || strings.Contains(errs, "copied") {
			t.Errorf("run %d: exit code %d, output %q\n%s", i, code, out, errs)
		}
	}
}
