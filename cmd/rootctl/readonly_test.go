package main

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadOnlyCaches uses caches that can only be read: mounted so, without rights to write, and copied without what
// holds nothing of worth (locks, stamps, scratch folders). Roots run and are listed, hits are hits, and what would
// write says why it cannot and what to do.
func TestReadOnlyCaches(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds, mounts and other users")
	}
	f := newFixture(t)
	for _, kind := range []string{"root", "range", "single"} {
		t.Run(kind, func(t *testing.T) {
			r := &readOnly{fixture: f, dir: filepath.Join(t.TempDir(), "cache")}
			if kind != "root" {
				o := f.as(t, kind == "single")
				r.fixture, r.dir, r.user = o.fixture, filepath.Join(o.home, "cache"), o
			}
			if _, errs, code := r.rootctl(r.args...); code != 0 {
				t.Fatalf("build: exit code %d\n%s", code, errs)
			}
			t.Run("mounted", r.mounted)
			copied := *r
			copied.dir = r.dir + "-copy"
			if out, err := exec.Command("cp", "-a", r.dir, copied.dir).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, part := range []string{"locks", "use", "tmp", "trash", "scratch", "layers"} {
				if err := os.RemoveAll(filepath.Join(copied.dir, part)); err != nil {
					t.Fatal(err)
				}
			}
			t.Run("copied", copied.mounted)
			if r.user != nil {
				t.Run("no right to write", r.forbidden)
			}
		})
	}
}

// readOnly is a cache of some user.
type readOnly struct {
	*fixture
	dir  string
	user *ordinary
}

func (r *readOnly) rootctl(args ...string) (stdout, stderr string, code int) {
	c := r.command(r.dir, args...)
	if r.user != nil {
		c = r.user.command(args...)
		c.Env = append(c.Env, "ROOTCTL_CACHE="+r.dir)
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if c.Run() != nil && c.ProcessState == nil {
		return "", "not started", -1
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

func (r *readOnly) mounted(t *testing.T) {
	if err := unix.Mount(r.dir, r.dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(r.dir, unix.MNT_DETACH)
	if err := unix.Mount("", r.dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r.verbs(t)
}

// forbidden takes the right to write to the folder, as its owner can: it is read-only then to what the owner is root
// in, too.
func (r *readOnly) forbidden(t *testing.T) {
	for _, mode := range []os.FileMode{0o500, 0o555} {
		if err := os.Chmod(r.dir, mode); err != nil {
			t.Fatal(err)
		}
		r.verbs(t)
		if st, err := os.Stat(r.dir); err != nil || st.Mode().Perm() != mode {
			t.Errorf("mode is %v (%v), was %v", st.Mode(), err, mode)
		}
	}
	if err := os.Chmod(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// A part of it that the owner may not write to is told.
	tmp := filepath.Join(r.dir, "tmp")
	if err := os.Chown(tmp, 0, 0); err != nil {
		t.Fatal(err)
	}
	_, errs, code := r.rootctl("tag", "fixture", "mine")
	refused(t, "tag in a folder of root's", errs, code, codeFailed, "belongs to user 0")
	if err := os.Chown(tmp, r.user.uid, r.user.gid); err != nil {
		t.Fatal(err)
	}
}

// verbs does all that there is, many at once.
func (r *readOnly) verbs(t *testing.T) {
	before := stateOf(t, r.dir)
	from := slices.Clone(r.args[1:5])
	if from[3] != "--keyring" {
		t.Fatal(from)
	}
	from = append(from, r.args[5])
	other := append(append([]string{"build", "--tag", "other"}, from...), "--include", "hello", "bionic")
	for _, v := range []struct {
		args []string
		code int
		says string // on stderr, or on stdout where all is well
	}{
		{[]string{"ls"}, 0, "fixture"},
		{[]string{"show", "fixture"}, 0, "bionic"},
		{[]string{"run", "fixture", "sh", "-c", "echo x > /usr/new; rm /etc/issue; chown 1:1 /new /usr/new 2>/dev/null; cat /usr/new"}, 0, "x"},
		{[]string{"run", "--userns=host", "fixture", "echo", "hi"}, 0, "hi"},
		{r.args, 0, ""},
		{append([]string{"build", "--offline", "--json"}, r.args[1:]...), 0, `"cached": true`},
		{other, codeFailed, "read-only"},
		{append(append([]string{"run", "--include", "hello"}, from...), "bionic", "true"), codeRunFailed, "read-only"},
		{append(slices.Clone(r.args), "--tag", "mine"), codeFailed, "read-only"},
		{[]string{"tag", "fixture", "mine"}, codeFailed, "read-only"},
		{[]string{"untag", "fixture"}, codeFailed, "read-only"},
		{[]string{"export", "-q", "fixture", "--format", "tar", "--compress", "none"}, 0, "etc/passwd"},
		{[]string{"cache", "df"}, 0, "total"},
		{[]string{"cache", "verify", "--roots"}, 0, "whole"},
		{append(append([]string{"cache", "why"}, from...), "bionic"), 0, ""},
		{append(append([]string{"cache", "key"}, from...), "bionic"), 0, ""},
		{append(append([]string{"lock", "-o", "-"}, from...), "bionic"), 0, "packages"},
		{[]string{"cache", "gc"}, codeFailed, "read-only"},
		{[]string{"import", from[4], "--tag", "no"}, codeFailed, ""},
	} {
		out, errs, code := r.rootctl(v.args...)
		if code != v.code || !strings.Contains(out+errs, v.says) || strings.Contains(errs, "goroutine ") {
			t.Errorf("%v: exit code %d, want %d with %q\n%s%s", v.args, code, v.code, v.says, out, errs)
		}
		if v.code != 0 && code == v.code {
			refused(t, v.args[0], errs, code, v.code, v.says)
		}
	}
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			if out, errs, code := r.rootctl("run", "fixture", "sh", "-c", "rm -r /usr/share; echo ran"); code != 0 || out != "ran\n" {
				t.Errorf("one of many runs: exit code %d\n%s%s", code, out, errs)
			}
		})
	}
	wg.Wait()
	if after := stateOf(t, r.dir); !maps.Equal(after, before) {
		t.Errorf("the cache changed")
	}
}
