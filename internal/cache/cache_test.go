package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "cache"), Options{})
	must(t, err)
	return s
}

// build seals a small root whose content follows from name, and records it under its key.
func build(ctx context.Context, s *Store, name string) (*Lease, error) {
	return buildBy(ctx, s, name, false)
}

// buildBy seals it for this boot only, if so asked.
func buildBy(ctx context.Context, s *Store, name string, forBoot bool) (*Lease, error) {
	t, err := s.Temp()
	if err != nil {
		return nil, err
	}
	defer t.Remove()
	tree := filepath.Join(t.Path, "tree")
	if err := os.MkdirAll(tree+"/usr/bin", 0o755); err != nil {
		return nil, err
	}
	for i := range 30 {
		if err := os.WriteFile(fmt.Sprintf("%s/usr/bin/%d", tree, i), []byte(fmt.Sprint(name, i)), 0o755); err != nil {
			return nil, err
		}
	}
	m, d, _, err := Scan(ctx, tree, ScanOptions{Epoch: 1})
	if err != nil {
		return nil, err
	}
	l, err := s.sealed(ctx, t, tree, m, d, sealing{settle: m.Settle, forBoot: forBoot})
	if err != nil {
		return nil, err
	}
	if err := s.StoreAction(Sum([]byte(name)), d); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func litter(t *testing.T, s *Store) []string {
	t.Helper()
	var out []string
	for _, folder := range []string{"tmp", "trash"} {
		names, err := s.listDir(folder)
		must(t, err)
		for _, n := range names {
			out = append(out, folder+"/"+n)
		}
	}
	return out
}

func TestSealLeaseRemove(t *testing.T) {
	ctx := context.Background()
	s := open(t)
	l, err := build(ctx, s, "one")
	must(t, err)
	if err := s.Remove(l.Root); !errors.Is(err, ErrBusy) {
		t.Errorf("Remove of a leased root: %v", err)
	}
	var d Digest
	if ok, err := s.LoadAction(Sum([]byte("one")), &d); !ok || err != nil || d != l.Root {
		t.Errorf("LoadAction: %v %v %s", ok, err, d)
	}
	m, err := l.Manifest()
	must(t, err)
	if diffs, err := m.Verify(ctx, l.Tree); err != nil || len(diffs) > 0 {
		t.Errorf("Verify: %v %q", err, diffs)
	}
	l2, err := build(ctx, s, "one")
	must(t, err)
	if l2.Root != l.Root {
		t.Errorf("same content, other root")
	}
	l.Close()
	l2.Close()
	roots, err := s.Roots()
	must(t, err)
	if len(roots) != 1 || roots[0].Size != m.TarSize || roots[0].Entries != len(m.Entries) || roots[0].Used.IsZero() {
		t.Errorf("Roots: %+v", roots)
	}
	if _, err := s.unlinkRoot(d, true); !errors.Is(err, ErrBusy) {
		t.Errorf("a whole root was taken for a broken one: %v", err)
	}
	for _, prefix := range []Digest{d[:4], d[:20], d, "sha256:" + d} {
		if got, err := s.FindRoot(string(prefix)); got != d || err != nil {
			t.Errorf("FindRoot(%s): %s %v", prefix, got, err)
		}
	}
	for _, prefix := range []Digest{"", d[:3], d + "0", "../", "x" + d[:9]} {
		if got, err := s.FindRoot(string(prefix)); !errors.Is(err, ErrNotFound) {
			t.Errorf("FindRoot(%s): %s %v", prefix, got, err)
		}
	}
	must(t, s.Remove(d))
	if _, err := s.Lease(ctx, d); !errors.Is(err, ErrNotFound) {
		t.Errorf("Lease after Remove: %v", err)
	}
	if n, err := s.Sweep(); n != 0 || err != nil {
		t.Errorf("Sweep found %d, %v", n, err)
	}
	if left := litter(t, s); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
