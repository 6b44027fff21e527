package cache

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
	t.Run("another's within", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("needs root: chown")
		}
		for _, name := range []string{"VERSION", "roots", "locks"} {
			s := open(t)
			must(t, os.Chown(s.path(name), 12345, -1))
			_, err := Open(s.Dir(), Options{})
			hint(t, err, s.path(name)+" belongs to user 12345")
		}
	})
	t.Run("older", func(t *testing.T) { // there is none before 1, and none will be made
		s := open(t)
		must(t, os.WriteFile(s.path("VERSION"), []byte("0\n"), 0o600))
		if _, err := Open(s.Dir(), Options{}); err == nil {
			if b, err := os.ReadFile(s.path("VERSION")); string(b) != "1\n" || err != nil { // one bit off: mended
				t.Errorf("VERSION %q %v", b, err)
			}
		}
		must(t, os.WriteFile(s.path("VERSION"), []byte("-1\n"), 0o600))
		_, err := Open(s.Dir(), Options{})
		hint(t, err, "no rootctl cache")
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
	t.Run("empty and read-only", func(t *testing.T) {
		dir := t.TempDir()
		must(t, os.Chmod(dir, 0o500)) // which does not stop root
		_, err := Open(dir, Options{})
		hint(t, err, "read-only")
		if entries, err := os.ReadDir(dir); len(entries) != 0 || err != nil {
			t.Errorf("was written to: %v %v", entries, err)
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

// A flip of any bit of VERSION, and a cut, is mended, but for those that read as a newer schema: these are refused.
func TestDamagedVersion(t *testing.T) {
	s := open(t)
	for _, text := range []string{"", "1"} {
		must(t, os.WriteFile(s.path("VERSION"), []byte(text), 0o600))
		got, err := Open(s.Dir(), Options{Existing: true})
		must(t, err)
		if b, err := os.ReadFile(s.path("VERSION")); err != nil || got.Absent() || text == "" && string(b) != "1\n" {
			t.Errorf("%q: absent %v, then %q, %v", text, got.Absent(), b, err)
		}
	}
	newer := 0
	for bit := range 16 {
		text := []byte("1\n")
		text[bit/8] ^= 1 << (bit % 8)
		must(t, os.WriteFile(s.path("VERSION"), text, 0o600))
		_, err := Open(s.Dir(), Options{})
		var refused *VersionError
		if errors.As(err, &refused) && text[0] > '1' && text[0] <= '9' {
			newer++
			continue
		}
		if b, e := os.ReadFile(s.path("VERSION")); err != nil || e != nil || string(b) != "1\n" {
			t.Errorf("%q: %v, then %q %v", text, err, b, e)
		}
	}
	if newer != 3 { // 3, 5, 9
		t.Errorf("%d refused as newer", newer)
	}
}

// Whatever the clock says, nothing is lost; the stamps of last use follow it, hourly.
func TestClock(t *testing.T) {
	now := time.Now()
	s, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	must(t, err)
	l, err := build(context.Background(), s, "one")
	must(t, err)
	l.Close()
	stamp := func(after time.Duration) time.Duration {
		t.Helper()
		before := now
		now = now.Add(after)
		l, err := s.Lease(context.Background(), l.Root)
		must(t, err)
		l.Close()
		n, err := s.Sweep()
		if n != 0 || err != nil {
			t.Errorf("%v later: swept %d, %v", after, n, err)
		}
		roots, err := s.Roots()
		must(t, err)
		return roots[0].Used.Sub(before).Round(time.Minute)
	}
	for _, move := range []time.Duration{87600 * time.Hour, -175200 * time.Hour, time.Hour} {
		if got := stamp(move); got != move {
			t.Errorf("clock moved by %v: stamp by %v", move, got)
		}
	}
	if got := stamp(59 * time.Minute); got != 0 {
		t.Errorf("stamped again after 59 minutes: %v", got)
	}
}
