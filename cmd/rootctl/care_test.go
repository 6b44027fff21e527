package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

// holding waits for all of a running container: its root and layer leased, its own folder made.
func holding(t *testing.T, f *fixture, dir, name string) (supervisor *os.Process, wait func()) {
	t.Helper()
	c := f.command(dir, "run", name, "sh", "-c", "echo up; exec sleep 60")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(make([]byte, 3)); n == 0 {
		t.Fatalf("the container did not start: %v", err)
	}
	return c.Process, func() { _ = c.Wait() }
}

// TestCollectRunning collects everything while a container runs, its supervisor stopped, alive and killed: its root and
// its layer stay until the container and its keeper are gone.
func TestCollectRunning(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	for _, kill := range []bool{false, true} {
		digest := f.build(t, dir)
		supervisor, wait := holding(t, f, dir, "fixture")
		if !kill { // one that does nothing any more holds on all the same
			_ = supervisor.Signal(syscall.SIGSTOP)
		}
		collectAll(t, f, dir)
		for _, folder := range []string{"roots/" + digest, "layers/*", "scratch/0"} {
			if found, _ := filepath.Glob(filepath.Join(dir, folder)); len(found) == 0 {
				t.Errorf("%s of a running container is gone", folder)
			}
		}
		_ = supervisor.Kill()
		gone := false
		for end := time.Now().Add(10 * time.Second); !gone && time.Now().Before(end); {
			collectAll(t, f, dir)
			_, err := os.Stat(filepath.Join(dir, "roots", digest))
			gone = err != nil
			if left := f.mounts(t, dir); gone && len(left) > 0 {
				t.Errorf("the root was taken from under %q", left)
			}
		}
		wait()
		if !gone {
			t.Error("the root is still there")
		}
		f.checkLeft(t, dir, "gc --all")
	}
}

// mounts lists the processes that see a mount of something in dir.
func (f *fixture) mounts(t *testing.T, dir string) (out []string) {
	t.Helper()
	for _, p := range f.processes(t, dir) {
		if strings.Contains(p, "has a mount") {
			out = append(out, p)
		}
	}
	return out
}

func collectAll(t *testing.T, f *fixture, dir string, flags ...string) (got cache.Collected) {
	t.Helper()
	out, err := f.command(dir, append([]string{"cache", "gc", "--all", "--json"}, flags...)...).Output()
	if err == nil {
		err = json.Unmarshal(out, &got)
	}
	if err != nil {
		t.Fatalf("gc --all: %v\n%s", err, out)
	}
	return got
}

// TestCollectInterrupted ends collections by INT in the middle of the deletion: the cache is whole, what was left in the
// trash goes with the next.
func TestCollectInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	stopped := 0
	for round := range 3 {
		f.build(t, dir)
		for i := range 3000 { // takes a while to delete
			name := filepath.Join(dir, "trash", "big", fmt.Sprint(i))
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, nil, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		c := f.command(dir, "cache", "gc", "--all")
		var errs strings.Builder
		c.Stderr = &errs
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(20+15*round) * time.Millisecond)
		_ = c.Process.Signal(syscall.SIGINT)
		_ = c.Wait()
		switch code := c.ProcessState.ExitCode(); code {
		case codeInterrupted:
			stopped++
			if !strings.Contains(errs.String(), "interrupted; the cache is whole") {
				t.Error(errs.String())
			}
		case 0, -1:
		default:
			t.Errorf("exit code %d", code)
		}
		if out, err := f.command(dir, "cache", "verify", "--roots").CombinedOutput(); err != nil {
			t.Errorf("after INT: %v\n%s", err, out)
		}
		collectAll(t, f, dir)
		f.checkLeft(t, dir, "INT, then gc")
	}
	if stopped == 0 {
		t.Error("no collection was interrupted")
	}
}

// testCare verifies and collects a user's cache: its trees belong to ids that the user cannot remove from outside.
func (o *ordinary) testCare(t *testing.T) {
	o.must(t, o.args...)
	o.must(t, "cache", "verify", "--roots")
	if out := o.must(t, "cache", "df"); !strings.Contains(out, " fixture ") {
		t.Errorf("df:\n%s", out)
	}
	trees, err := filepath.Glob(filepath.Join(o.cache(), "roots", "*", "etc", "passwd"))
	if err != nil || len(trees) == 0 {
		t.Fatalf("no tree: %v", err)
	}
	if err := os.WriteFile(trees[0], []byte("root::0:0::/:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, errs, code := o.run(t, "cache", "verify", "--roots")
	if code != codeFailed || !strings.Contains(out, "BAD root") || !strings.Contains(out, "etc/passwd (removed)") {
		t.Errorf("a changed file: exit code %d\n%s%s", code, out, errs)
	}
	o.must(t, o.args...) // heals it
	o.must(t, "cache", "verify", "--roots")
	o.must(t, "cache", "gc", "--all")
	for _, folder := range []string{"roots", "dl/sha256", "actions", "layers", "scratch", "trash", "tmp"} {
		if left, _ := filepath.Glob(filepath.Join(o.cache(), folder, "*")); len(left) > 0 {
			t.Errorf("left by gc --all: %q", left)
		}
	}
	o.checkLeft(t, "care")
}

// TestFullDiskCollects builds where there is room for one root: the one without a name makes way, the named one does not.
func TestFullDiskCollects(t *testing.T) {
	f := newFaulty(t)
	f.must(t, f.build("one")...)
	s, err := cache.Open(f.dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	u, err := s.Usage()
	if err != nil {
		t.Fatal(err)
	}
	small := *f
	small.real = &real{f.fixture, filepath.Join(t.TempDir(), "small")}
	if err := os.Mkdir(small.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small.dir, "tmpfs", 0, fmt.Sprintf("size=%d", u.Bytes*14/10)); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small.dir, unix.MNT_DETACH)
	none := []string{"ROOTCTL_CACHE_MAX_SIZE=none"} // else a tenth of this small disk is the bound
	run := func(args ...string) (string, int) {
		c := small.command(small.dir, args...)
		c.Env = append(c.Env, none...)
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	if out, code := run(f.build("one")...); code != 0 {
		t.Fatalf("build: exit code %d\n%s", code, out)
	}
	if out, code := run(f.build("two", "--include", "hello")...); code != codeFailed || !strings.Contains(out, "is full") || !strings.Contains(out, "hint:") {
		t.Errorf("beside a named root: exit code %d\n%s", code, out)
	}
	if out, code := run("run", "one", "true"); code != 0 {
		t.Errorf("the named root: exit code %d\n%s", code, out)
	}
	run("untag", "one")
	if out, code := run(f.build("two", "--include", "hello")...); code != 0 || !strings.Contains(out, "the disk is full: removed") {
		t.Errorf("beside one without a name: exit code %d\n%s", code, out)
	}
	if left := leftFiles(t, small.dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
