package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// forBoot is a cache with a root that the disk need not have yet, and another process's view of it, so much later.
func forBoot(t *testing.T, later time.Duration) (s, other *Store, d Digest) {
	t.Helper()
	s = open(t)
	l, err := buildBy(context.Background(), s, "one", true)
	must(t, err)
	l.Close()
	other, err = Open(s.dir, Options{Now: func() time.Time { return time.Now().Add(later) }})
	must(t, err)
	return s, other, l.Root
}

// leased reports whether a root is there for a user, and whether its manifest has its lasting name afterwards.
func leased(t *testing.T, s *Store, d Digest) (there, lasting bool) {
	t.Helper()
	l, err := s.Lease(context.Background(), d)
	if err == nil {
		there = true
		m, err := l.Manifest()
		must(t, err)
		if diffs, err := m.Verify(context.Background(), l.Tree); err != nil || len(diffs) > 0 {
			t.Errorf("%v %q", err, diffs)
		}
		l.Close()
	} else if !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	_, err = os.Lstat(s.mtreePath(d))
	return there, err == nil
}

// empty fails where anything of a root is left.
func empty(t *testing.T, s *Store) {
	t.Helper()
	_, err := s.Sweep()
	must(t, err)
	for _, folder := range []string{"roots", "use", "tmp", "trash"} {
		names, err := s.listDir(folder)
		must(t, err)
		if len(names) > 0 {
			t.Errorf("left in %s: %q", folder, names)
		}
	}
}

func nextBoot() string { return strings.Repeat("0", 32) }

func TestSealForBoot(t *testing.T) {
	ctx := context.Background()
	row := func(Ref) (string, error) { return "x", nil }
	t.Run("a moment later", func(t *testing.T) {
		s, other, d := forBoot(t, 0)
		if there, lasting := leased(t, other, d); !there || lasting {
			t.Errorf("there %v, lasting %v", there, lasting)
		}
		roots, err := other.Roots()
		must(t, err)
		list, err := other.Listing("x", row)
		must(t, err)
		usage, err := other.Usage()
		must(t, err)
		if !other.HasRoot(d) || len(roots) != 1 || len(list) != 1 || len(usage.Roots) != 1 || list[0].Bytes == 0 {
			t.Errorf("%+v\n%+v\n%+v", roots, list, usage)
		}
		if v := verify(t, other, true); len(v.Bad) > 0 {
			t.Errorf("%+v", v.Bad)
		}
		if found, err := s.Sweep(); found != 0 || err != nil {
			t.Errorf("swept %d, %v", found, err)
		}
		must(t, other.Remove(d))
		empty(t, s)
	})
	for _, later := range []time.Duration{2 * time.Minute, -time.Hour} {
		t.Run("used "+later.String()+" later", func(t *testing.T) {
			s, other, d := forBoot(t, later)
			if there, lasting := leased(t, other, d); !there || !lasting {
				t.Errorf("there %v, lasting %v", there, lasting)
			}
			s.boot = nextBoot
			if there, _ := leased(t, s, d); !there {
				t.Error("it did not last")
			}
			must(t, s.Remove(d))
			empty(t, s)
		})
	}
	t.Run("made again", func(t *testing.T) {
		s, _, d := forBoot(t, 0)
		l, err := build(ctx, s, "one")
		must(t, err)
		l.Close()
		if there, lasting := leased(t, s, d); !there || !lasting {
			t.Errorf("there %v, lasting %v", there, lasting)
		}
	})
	t.Run("after a crash", func(t *testing.T) {
		s, other, d := forBoot(t, 2*time.Minute)
		list, err := s.Listing("x", row)
		must(t, err)
		other.boot = nextBoot
		must(t, os.Truncate(s.rootPath(d)+"/usr/bin/7", 0)) // as the disk may have it
		after, err := other.Listing("x", row)
		must(t, err)
		if there, lasting := leased(t, other, d); there || lasting || other.HasRoot(d) || len(list) != 1 || len(after) != 0 {
			t.Errorf("there %v, lasting %v, before %+v, after %+v", there, lasting, list, after)
		}
		empty(t, other)
	})
	for _, again := range []bool{false, true} {
		t.Run("after a crash, not swept", func(t *testing.T) {
			s, other, d := forBoot(t, 2*time.Minute)
			other.boot = nextBoot
			must(t, os.Truncate(s.rootPath(d)+"/usr/bin/7", 0))
			l, err := buildBy(ctx, other, "one", again)
			must(t, err)
			l.Close()
			if there, lasting := leased(t, other, d); !there || !lasting {
				t.Errorf("there %v, lasting %v", there, lasting)
			}
			_, err = other.Sweep()
			must(t, err)
			if names, _ := filepath.Glob(s.path("roots", "*")); len(names) != 2 {
				t.Errorf("%q", names)
			}
		})
	}
	t.Run("the disk lost some", func(t *testing.T) {
		for _, later := range []time.Duration{0, 2 * time.Minute} {
			for _, lose := range []func(tree string) error{
				func(tree string) error { return os.Truncate(tree+"/usr/bin/7", 0) },
				func(tree string) error { return os.Remove(tree + "/usr/bin/8") },
				func(tree string) error {
					return errors.Join(os.Remove(tree+"/usr/bin/9"), os.Mkdir(tree+"/usr/bin/9", 0o755))
				},
				func(tree string) error {
					names, _ := filepath.Glob(tree + ".mtree-*")
					return os.Truncate(names[0], 100)
				},
			} {
				s, other, d := forBoot(t, later)
				must(t, lose(s.rootPath(d)))
				if there, lasting := leased(t, other, d); there || lasting {
					t.Errorf("there %v, lasting %v", there, lasting)
				}
				empty(t, other)
			}
		}
	})
	t.Run("a boot without a name", func(t *testing.T) {
		s := open(t)
		s.boot = func() string { return "" }
		tmp, err := s.Temp()
		must(t, err)
		tree := filepath.Join(tmp.Path, "tree")
		must(t, os.Mkdir(tree, 0o755))
		must(t, os.WriteFile(tree+"/f", []byte("x"), 0o644))
		m, d, _, err := Scan(ctx, tree, ScanOptions{Epoch: 1})
		must(t, err)
		must(t, m.Settle(tree))
		l, err := s.SealForBoot(ctx, tmp, tree, m, d)
		must(t, err)
		l.Close()
		must(t, tmp.Remove())
		if there, lasting := leased(t, s, d); !there || !lasting {
			t.Errorf("there %v, lasting %v", there, lasting)
		}
	})
	if id := bootID(); len(id) != 32 {
		t.Errorf("this boot is %q", id)
	}
}
