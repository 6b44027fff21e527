package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// faulty is a cache that something is wrong with.
type faulty struct {
	*real
	from []string // flags that name the archive
}

func newFaulty(t *testing.T) *faulty {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds, mounts and containers")
	}
	f := newFixture(t)
	return &faulty{&real{f, filepath.Join(t.TempDir(), "cache")}, f.args[1:6]}
}

// build are the arguments of a build that gives the root a name.
func (f *faulty) build(tag string, flags ...string) []string {
	args := append([]string{"build", "--tag", tag}, f.from...)
	return append(append(args, flags...), "bionic")
}

// clear is what an error must be: one line that says what could not be done and why, then a next step.
var clear = regexp.MustCompile(`(?m)^rootctl: [^:\n]+: .+\n(  \| .*\n|cause: .*\n|log: .*\n)*hint: .`)

// refused checks an error that the user can cause.
func refused(t *testing.T, what, errs string, code, want int, says string) {
	t.Helper()
	if code != want || !clear.MatchString(errs) || !strings.Contains(errs, says) || strings.Contains(errs, "goroutine ") {
		t.Errorf("%s: exit code %d, want %d with %q and a hint\n%s", what, code, want, says, errs)
	}
}

// short is n, or what the environment says in the long form of a test.
func short(variable string, n int) int {
	if v, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return v
	}
	return n
}

// TestFullDisks builds on ever larger file systems, from one that nothing fits on to one that all fits on: each is
// told, leaves no litter, and with room the same cache gives the right root.
func TestFullDisks(t *testing.T) {
	f := newFaulty(t)
	f.must(t, f.build("one")...)
	want := f.must(t, "ls", "--digests")
	var size, files int64
	err := filepath.WalkDir(f.dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		files++
		size += (fi.Size() + 4095) &^ 4095
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	n := int64(short("ROOTCTL_SOAK_SIZES", 6))
	for _, limit := range []string{"size", "nr_inodes"} {
		most := map[string]int64{"size": size, "nr_inodes": files}[limit]
		full := 0
		for i := range n {
			at := 1 + most*i/n
			if limit == "size" {
				at = (at + 4095) &^ 4095
			}
			full += f.onSmallDisk(t, fmt.Sprintf("%s=%d", limit, at), want)
		}
		if full < int(n/2) {
			t.Errorf("%s: only %d disks were full", limit, full)
		}
	}
}

// TestFullDisksOutside fills the file system that exports and lock files are written to, and the cache that a tar is
// imported into. What has no room is told and leaves nothing.
func TestFullDisksOutside(t *testing.T) {
	f := newFaulty(t)
	f.must(t, f.build("one")...)
	tar := filepath.Join(t.TempDir(), "one.tar")
	f.must(t, "export", "-q", "one", "-o", tar)
	lock := func(at string) []string {
		return append(append([]string{"lock", "-o", at + "/x.lock"}, f.from...), "bionic")
	}
	for _, v := range []struct {
		args  func(at string) []string
		sizes []int // in kB: what is too small for it
		cache bool  // the disk is the cache's
	}{
		{func(at string) []string { return []string{"export", "one", "-o", at + "/x.tar"} }, []int{4, 400, 8000}, false},
		{func(at string) []string { return []string{"export", "one", "-o", at + "/x.tar.zst"} }, []int{4, 400, 3000}, false},
		{func(at string) []string { return []string{"export", "one", "-o", at + "/x.oci.tar"} }, []int{4, 400, 3000}, false},
		{func(at string) []string { return []string{"export", "one", "-o", at + "/x/"} }, []int{4, 400, 8000}, false},
		{lock, []int{4}, false},
		{func(string) []string { return []string{"import", tar, "--tag", "two"} }, []int{4, 40, 400, 4000, 9000, 12000}, true},
	} {
		for _, kb := range v.sizes {
			at := filepath.Join(t.TempDir(), "small")
			if err := os.Mkdir(at, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%dk", kb)); err != nil {
				t.Fatal(err)
			}
			func() {
				defer unix.Unmount(at, unix.MNT_DETACH)
				dir := f.dir
				if v.cache {
					dir = at
				} else if err := os.WriteFile(filepath.Join(at, "there"), make([]byte, 4096), 0o600); err != nil {
					t.Fatal(err)
				}
				in := &real{f.fixture, dir}
				args := v.args(at)
				what := fmt.Sprintf("%v with %d kB", args, kb)
				_, errs, code := in.rootctl(t, args...)
				refused(t, what, errs, code, codeFailed, "")
				if !strings.Contains(errs, "is full") && !strings.Contains(errs, "no space left on device") && !strings.Contains(errs, "free") {
					t.Errorf("%s: does not say that the disk is full:\n%s", what, errs)
				}
				names, err := filepath.Glob(at + "/*")
				if hidden, _ := filepath.Glob(at + "/.*"); err != nil || !v.cache && len(names)+len(hidden) != 1 {
					t.Errorf("%s: left %q %q", what, names, hidden)
				}
				if v.cache {
					if left := leftFiles(t, at); len(left) > 0 {
						t.Errorf("%s: left %q", what, left)
					}
					if err := unix.Mount("", at, "", unix.MS_REMOUNT, "size=1g"); err != nil {
						t.Fatal(err)
					}
					in.must(t, args...)
				}
			}()
		}
	}
}

func (f *faulty) onSmallDisk(t *testing.T, limit, want string) (full int) {
	t.Helper()
	small := *f
	small.real = &real{f.fixture, filepath.Join(t.TempDir(), "small")}
	if err := os.Mkdir(small.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small.dir, "tmpfs", 0, limit); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small.dir, unix.MNT_DETACH)
	if _, errs, code := small.rootctl(t, f.build("one")...); code != 0 {
		full = 1
		refused(t, "build with "+limit, errs, code, codeFailed, "")
		if !strings.Contains(errs, "is full") && !strings.Contains(errs, "no space left on device") {
			t.Errorf("%s: does not say that the disk is full:\n%s", limit, errs)
		}
		for end := time.Now().Add(3 * time.Second); len(leftFiles(t, small.dir)) > 0 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond) // the keeper is at it
		}
		if left := leftFiles(t, small.dir); len(left) > 0 {
			t.Errorf("%s: left behind: %q", limit, left)
		}
	}
	for _, args := range [][]string{{"tag", "one", "two"}, {"run", "one", "true"}, {"untag", "one"}} {
		if _, errs, code := small.rootctl(t, args...); code != 0 && !strings.Contains(errs, "no root of that name") && !strings.Contains(errs, "no suite is called") {
			refused(t, args[0]+" with "+limit, errs, code, code, "full")
		}
	}
	if err := unix.Mount("", small.dir, "", unix.MS_REMOUNT, "size=1g,nr_inodes=100000"); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := small.rootctl(t, f.build("one")...); code != 0 {
		t.Errorf("%s, then room: exit code %d\n%s", limit, code, errs)
	}
	small.rootctl(t, "untag", "two")
	if got := small.must(t, "ls", "--digests"); got != want {
		t.Errorf("%s, then room: got\n%s\nwant\n%s", limit, got, want)
	}
	sweep(t, small.dir)
	for _, name := range strange(t, small.dir) {
		t.Errorf("%s: litter: %s", limit, name)
	}
	return full
}

// TestFewFiles lowers the limit on open files until nothing works.
func TestFewFiles(t *testing.T) {
	f := newFaulty(t)
	f.must(t, f.build("one")...)
	step := 5
	if os.Getenv("ROOTCTL_SOAK_SIZES") != "" {
		step = 1
	}
	for _, args := range [][]string{{"ls"}, {"cache", "verify", "--roots"}, {"tag", "one", "two"}, {"run", "one", "true"}, f.build("other", "--include", "hello")} {
		failed := 0
		for limit := 8; ; limit += step {
			what := fmt.Sprintf("%s with %d files", args[0], limit)
			c := f.command(f.dir, args...)
			c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", "ulimit -n " + strconv.Itoa(limit) + ` && exec "$0" "$@"`, f.self}, args...)
			var errs strings.Builder
			c.Stderr = &errs
			if c.Run() == nil {
				break
			}
			failed++
			want := codeFailed
			if args[0] == "run" {
				want = codeRunFailed
			}
			refused(t, what, errs.String(), c.ProcessState.ExitCode(), want, "too many open files")
			if strings.Contains(errs.String(), "something else") {
				t.Errorf("%s: a wrong cause:\n%s", what, errs.String())
			}
			if left := f.left(t, f.dir); len(left) > 0 {
				sweep(t, f.dir) // who cannot open a folder cannot empty it
				f.checkLeft(t, f.dir, what)
			}
			if limit > 200 || t.Failed() {
				t.Fatalf("%s: %s", what, errs.String())
			}
		}
		if failed == 0 && args[0] != "ls" {
			t.Errorf("%s never failed", args[0])
		}
	}
	sweep(t, f.dir)
	for _, name := range strange(t, f.dir) {
		t.Errorf("litter: %s", name)
	}
}
