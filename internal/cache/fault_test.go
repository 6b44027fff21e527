package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
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
			try("release", s.StoreRelease("one", make([]byte, 9000))))
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

// Every bit flip and every cut of a record is a miss, and the next write heals it.
func TestDamagedRecords(t *testing.T) {
	s := open(t)
	key := Sum([]byte("{}"))
	write := func() {
		must(t, s.StoreAction(key, "the right thing"))
		must(t, s.StoreInputs(key, []byte("{}")))
		must(t, s.SetRef(Ref{Name: "trixie:i386", Root: key}, nil))
		must(t, s.StoreRelease("trixie", []byte("Suite: trixie\n")))
	}
	write()
	read := map[string]func() bool{
		"actions/" + string(key): func() bool {
			var v string
			ok, err := s.LoadAction(key, &v)
			must(t, err)
			return ok
		},
		"inputs/" + string(key) + ".json": func() bool { return found(t)(s.LoadInputs(key)) },
		"refs/trixie:i386": func() bool {
			r, err := s.Ref("trixie:i386")
			return found(t)([]byte(r.Name), err)
		},
		"releases/trixie": func() bool { return found(t)(s.LoadRelease("trixie")) },
	}
	for name, hit := range read {
		path := s.path(name)
		good, err := os.ReadFile(path)
		must(t, err)
		if !hit() {
			t.Errorf("%s is a miss before any damage", name)
		}
		for i := range good {
			bad := append([]byte(nil), good...)
			bad[i] ^= 1 << (i % 8)
			must(t, os.WriteFile(path, bad, 0o600))
			if hit() {
				t.Errorf("%s: a flip of byte %d was not seen", name, i)
			}
			must(t, os.WriteFile(path, good[:i], 0o600))
			if hit() {
				t.Errorf("%s: a cut to %d bytes was not seen", name, i)
			}
		}
		write()
		if !hit() {
			t.Errorf("%s was not healed", name)
		}
	}
	// A whole record in another's place is none.
	other := Sum([]byte("other"))
	must(t, os.Link(s.path("actions", string(key)), s.path("actions", string(other))))
	var v string
	if ok, err := s.LoadAction(other, &v); ok || err != nil {
		t.Errorf("moved record: %v %v", ok, err)
	}
}

func found(t *testing.T) func([]byte, error) bool {
	return func(_ []byte, err error) bool {
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		return err == nil
	}
}

// A damaged manifest makes its root a miss; building again heals it, also while the root is in use.
func TestDamagedManifest(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	l, err := build(ctx, s, "one")
	must(t, err)
	path := s.mtreePath(l.Root)
	good, err := os.ReadFile(path)
	must(t, err)
	for i := 0; i < len(good); i += 61 {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1 << (i % 8)
		if i%2 == 1 {
			bad = bad[:i]
		}
		must(t, os.WriteFile(path, bad, 0o600))
		if _, err := l.Manifest(); err == nil {
			t.Fatalf("damage at %d was not seen", i)
		}
		if _, err := s.Lease(ctx, l.Root); !errors.Is(err, ErrNotFound) {
			t.Fatalf("damage at %d: Lease: %v", i, err)
		}
		if i%3 == 0 {
			l.Close() // else its tree stays and only the manifest is written anew
		}
		old := l
		l, err = build(ctx, s, "one")
		must(t, err)
		must(t, whole(ctx, l, "one"))
		old.Close()
	}
	l.Close()
	checkStore(t, s.Dir())
}

func TestOpenRefuses(t *testing.T) {
	hint := func(t *testing.T, err error, part string) {
		t.Helper()
		var h interface{ Hint() string }
		if !errors.As(err, &h) || h.Hint() == "" || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v, want %q and a hint", err, part)
		}
	}
	t.Run("newer", func(t *testing.T) {
		s := open(t)
		must(t, os.WriteFile(s.path("VERSION"), []byte("7\n"), 0o600))
		_, err := Open(s.Dir(), Options{})
		hint(t, err, "schema 7")
	})
	t.Run("other VERSION", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.WriteFile(dir+"/VERSION", []byte("v1.2"), 0o600))
		_, err := Open(dir, Options{})
		hint(t, err, "no rootctl cache")
	})
	t.Run("other things", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.WriteFile(dir+"/thesis.tex", nil, 0o600))
		_, err := Open(dir, Options{})
		hint(t, err, "thesis.tex")
		if entries, err := os.ReadDir(dir); len(entries) != 1 || err != nil {
			t.Errorf("was written to: %v %v", entries, err)
		}
	})
	t.Run("another's", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root: chown")
		}
		s := open(t)
		must(t, os.Chown(s.Dir(), 12345, -1))
		_, err := Open(s.Dir(), Options{})
		hint(t, err, "belongs to user 12345")
	})
	t.Run("no flock", func(t *testing.T) {
		s := open(t)
		s.flock = func(int, int) error { return unix.ENOLCK }
		_, err := s.Temp()
		hint(t, err, "has no flock")
		s.flock = func(int, int) error { return nil }
		_, err = s.Temp()
		hint(t, err, "gives one flock to two")
		if left := litter(t, s); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
	t.Run("file", func(t *testing.T) {
		path := t.TempDir() + "/file"
		must(t, os.WriteFile(path, nil, 0o600))
		if _, err := Open(path, Options{}); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("error %v", err)
		}
	})
}

func TestOpenFinishesAndMends(t *testing.T) {
	s := open(t)
	st, err := os.Stat(s.Dir())
	must(t, err)
	if st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", st.Mode())
	}
	must(t, os.RemoveAll(s.path("roots")))
	must(t, os.Truncate(s.path("VERSION"), 0)) // as one killed while it made the cache leaves it
	must(t, os.Chmod(s.Dir(), 0o755))
	s, err = Open(s.Dir(), Options{})
	must(t, err)
	l, err := build(context.Background(), s, "one")
	must(t, err)
	l.Close()
	if st, err := os.Stat(s.Dir()); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("mode %v %v", st.Mode(), err)
	}
	if b, err := os.ReadFile(s.path("VERSION")); string(b) != "1\n" || err != nil {
		t.Errorf("VERSION %q %v", b, err)
	}
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
