package cache

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

// listed makes a listing as text, and counts the records that were read for it.
func listed(t *testing.T, s *Store, read *int) (out []string) {
	t.Helper()
	list, err := s.Listing("tag", func(r Ref) (string, error) { *read++; return "row of " + r.Name, nil })
	must(t, err)
	for _, l := range list {
		out = append(out, fmt.Sprint(l.Name, " ", l.Root.Short(), " ", l.Key.Short(), " ", l.Row))
	}
	return out
}

func listingStore(t *testing.T) (s *Store, roots []Digest) {
	s = open(t)
	for _, name := range []string{"a", "b", "c"} {
		l, err := build(context.Background(), s, name)
		must(t, err)
		roots = append(roots, l.Root)
		l.Close()
		must(t, s.SetRef(Ref{Name: name, Root: l.Root, Key: Sum([]byte(name))}, nil))
	}
	must(t, s.DeleteRef("c"))
	return s, roots
}

func TestListingIsTrusted(t *testing.T) {
	s, roots := listingStore(t)
	read := 0
	first := listed(t, s, &read)
	if len(first) != 3 || read != 3 {
		t.Fatalf("%q, %d records read", first, read)
	}
	if _, stamps := s.readListing("tag"); stamps != "" {
		t.Error("a listing made right after a change is trusted")
	}
	time.Sleep(2 * settled)
	if again := listed(t, s, &read); !slices.Equal(again, first) || read != 3 {
		t.Errorf("%q, %d records read", again, read)
	}
	if _, stamps := s.readListing("tag"); stamps == "" || stamps != s.listingStamps() {
		t.Error("a settled listing is not trusted")
	}
	// Each change of a name, a root or a record is seen at once.
	for i := range 20 {
		must(t, s.SetRef(Ref{Name: "a", Root: roots[i%2], Key: Sum([]byte("a"))}, nil))
		if got := listed(t, s, &read); got[0] != fmt.Sprint("a ", roots[i%2].Short(), " ", Sum([]byte("a")).Short(), " row of a") {
			t.Fatalf("change %d: %q", i, got)
		}
		if i%5 == 0 {
			time.Sleep(2 * settled)
			listed(t, s, &read)
		}
	}
	time.Sleep(2 * settled)
	listed(t, s, &read)
	must(t, s.Remove(roots[0]))
	if got := listed(t, s, &read); slices.ContainsFunc(got, func(l string) bool { return bytes.Contains([]byte(l), []byte(roots[0].Short())) }) {
		t.Errorf("a root that is gone: %q", got)
	}
}

func TestListingIsDerived(t *testing.T) {
	s, _ := listingStore(t)
	time.Sleep(2 * settled)
	read := 0
	want := listed(t, s, &read)
	path := s.path(listingFile)
	whole, err := os.ReadFile(path)
	must(t, err)
	damages := map[string][]byte{"empty": {}, "zeroed": make([]byte, len(whole)), "garbage": []byte("\t\t\t\n\t\n"), "cut": whole[:len(whole)-9]}
	for i := 0; i < len(whole); i += 7 {
		b := slices.Clone(whole)
		b[i] ^= 1 << (i % 8)
		damages[fmt.Sprint("bit in byte ", i)] = b
	}
	for what, b := range damages {
		must(t, os.WriteFile(path, b, 0o600))
		if got := listed(t, s, &read); !slices.Equal(got, want) {
			t.Errorf("%s: %q", what, got)
		}
		if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, whole) {
			t.Errorf("%s: not made anew: %v", what, err)
		}
	}
	must(t, os.Remove(path))
	s.readOnly = true
	if got := listed(t, s, &read); !slices.Equal(got, want) {
		t.Errorf("read-only: %q", got)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a read-only cache was written to")
	}
}

// TestInUse: with the kernel's list of locks, and where that does not tell all.
func TestInUse(t *testing.T) {
	s, roots := listingStore(t)
	read := 0
	listed(t, s, &read)
	list, err := s.Listing("tag", nil)
	must(t, err)
	l, err := s.Lease(context.Background(), roots[1])
	must(t, err)
	for i, used := range s.InUse(list) {
		if used != (list[i].Root == roots[1]) {
			t.Errorf("%s in use: %v", list[i].Name, used)
		}
		if d, err := os.Open(s.path("locks")); err != nil || s.looksUsed(int(d.Fd()), "root-"+string(list[i].Root)) != used {
			t.Errorf("%s seems in use: %v %v", list[i].Name, !used, err)
		}
	}
	l.Close()
	if slices.Contains(s.InUse(list), true) {
		t.Error("in use after the lease")
	}
}
