package cache

import (
	"context"
	"errors"
	"os"
	"testing"
)

// Every bit flip and every cut of a record is a miss, and the next write heals it.
func TestDamagedRecords(t *testing.T) {
	s := open(t)
	key := Sum([]byte("{}"))
	write := func() {
		must(t, s.StoreAction(key, "the right thing"))
		must(t, s.StoreInputs(key, []byte("{}")))
		must(t, s.SetRef(Ref{Name: "trixie:i386", Root: key}, nil))
		must(t, s.StoreRelease("trixie", []byte("Suite: trixie\n"), nil))
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

// A root whose manifest is damaged, and which no record names any more, is made again: the new manifest takes the place
// of the damaged one.
func TestSealOverDamagedManifest(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	l, err := build(ctx, s, "one")
	must(t, err)
	l.Close()
	path := s.mtreePath(l.Root)
	good, err := os.ReadFile(path)
	must(t, err)
	good[len(good)/2] ^= 1
	must(t, os.WriteFile(path, good, 0o600))
	must(t, os.Remove(s.path("actions", string(Sum([]byte("one"))))))
	l, err = get(ctx, s, "one", func() {})
	must(t, err)
	must(t, whole(ctx, l, "one"))
	l.Close()
	checkStore(t, s.Dir())
}
