package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inMounts runs a task in a mount namespace of its own.
func inMounts(t *testing.T, task, dir string, args ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	c := process(task, dir, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestReadOnly(t *testing.T) {
	s := open(t)
	l, err := build(context.Background(), s, "one")
	must(t, err)
	l.Close()
	must(t, s.SetRef(Ref{Name: "one", Root: l.Root}, nil))
	t.Run("whole", func(t *testing.T) { inMounts(t, "readonly", s.Dir()) })
	must(t, os.RemoveAll(s.path("locks"))) // as a restored artifact may be
	t.Run("no locks", func(t *testing.T) { inMounts(t, "readonly", s.Dir()) })
}

func taskReadOnly(s *Store, _ []string) error {
	dir := s.Dir()
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount(dir, dir, "", unix.MS_BIND, ""),
		unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")); err != nil {
		return err
	}
	s, err := Open(dir, Options{})
	if err != nil || !s.ReadOnly() {
		return fmt.Errorf("open: %w, read-only %v", err, s.ReadOnly())
	}
	ctx := context.Background()
	r, err := s.Ref("one")
	if err != nil {
		return err
	}
	l, err := get(ctx, s, "one", func() {})
	if err != nil || l.Root != r.Root {
		return fmt.Errorf("hit: %w", err)
	}
	if err := whole(ctx, l, "one"); err != nil {
		return err
	}
	l.Close()
	_, noTemp := s.Temp()
	_, noKey := s.LockKey(ctx, r.Root, nil)
	for i, err := range []error{noTemp, noKey, s.SetRef(r, nil), s.DeleteRef("one"), s.StoreAction(r.Root, 1),
		s.Remove(r.Root), fetch(ctx, s, 1, 0)} {
		if !errors.Is(err, ErrReadOnly) {
			return fmt.Errorf("write %d: %w", i, err)
		}
	}
	_, err = s.Sweep()
	return err
}

func TestDiskFull(t *testing.T) {
	for _, limit := range []string{"size", "nr_inodes"} {
		t.Run(limit, func(t *testing.T) { inMounts(t, "full", t.TempDir()+"/cache", t.TempDir(), limit) })
	}
}

// taskFull does all kinds of writes on ever larger filesystems until all fit. Before that each error
// must say what is wrong, nothing may be left, and with room all must work.
func taskFull(_ *Store, args []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	failed := 0
	for step := range 200 {
		n := 12 + step // folders, VERSION
		if args[1] == "size" {
			n = (1 + step) * 4096
		}
		if err := unix.Mount("tmpfs", args[0], "tmpfs", 0, fmt.Sprintf("%s=%d", args[1], n)); err != nil {
			return err
		}
		full, err := fillUp(args[0], n)
		if err := errors.Join(err, unix.Unmount(args[0], 0)); err != nil {
			return fmt.Errorf("%s=%d: %w", args[1], n, err)
		}
		if !full {
			if failed < 10 {
				return fmt.Errorf("only %d sizes were too small", failed)
			}
			return nil
		}
		failed++
	}
	return fmt.Errorf("never enough")
}

// fillUp reports whether the disk was full.
func fillUp(dir string, n int) (bool, error) {
	s, err := Open(dir, Options{})
	if err != nil {
		return true, wantFull("open", err)
	}
	full := false
	try := func(what string, err error) error {
		if err == nil {
			return nil
		}
		full = true
		return wantFull(what, err)
	}
	ops := func() error {
		ctx := context.Background()
		l, err := build(ctx, s, "one")
		if err == nil {
			l.Close()
		}
		r := Ref{Name: "one", Root: Sum(nil)}
		return errors.Join(try("build", err), try("fetch", fetch(ctx, s, 15, 0)), try("ref", s.SetRef(r, nil)),
			try("release", s.StoreRelease("one", make([]byte, 9000), nil)))
	}
	if err := ops(); err != nil {
		return full, err
	}
	for _, folder := range []string{"tmp", "trash"} {
		if names, err := s.listDir(folder); len(names) > 0 || err != nil {
			return full, fmt.Errorf("left in %s: %q, %w", folder, names, err)
		}
	}
	if !full {
		return false, nil
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=8m,nr_inodes=10000"); err != nil {
		return true, err
	}
	full = false
	if err := ops(); err != nil || full {
		return true, fmt.Errorf("with room: %w, full %v", err, full)
	}
	return true, nil
}

func wantFull(what string, err error) error {
	if !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%s: %w", what, err)
	}
	var full *FullError
	if what != "build" && !errors.As(err, &full) { // build's own writes know nothing of FullError
		return fmt.Errorf("%s: no FullError: %w", what, err)
	}
	return nil
}

func TestManyOpenFiles(t *testing.T) {
	s := open(t)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	var files []*os.File
	limit := unix.Rlimit{Cur: 64, Max: old.Max}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			break
		}
		files = append(files, f)
	}
	for free := 0; len(files) > 0; free++ {
		l, err := build(context.Background(), s, fmt.Sprint("fds", free))
		if err == nil {
			l.Close()
			break
		}
		if !errors.Is(err, unix.EMFILE) {
			t.Errorf("%d free: %v", free, err)
		}
		files[0].Close()
		files = files[1:]
	}
	for _, f := range files {
		f.Close()
	}
	if len(files) == 0 {
		t.Error("never worked")
	}
	checkStore(t, s.Dir())
}
