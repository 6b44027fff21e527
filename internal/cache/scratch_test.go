package cache

import (
	"os"
	"path/filepath"
	"testing"
)

func TestScratch(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	claim := func() *Scratch {
		t.Helper()
		c, err := s.Scratch()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, two := claim(), claim()
	if one.Path == two.Path {
		t.Fatalf("two have %s", one.Path)
	}
	for _, d := range []string{"u/left", filepath.Join("w", "work", "x"), "w/index"} {
		if err := os.MkdirAll(filepath.Join(one.Path, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// While it is claimed nobody touches it.
	if n, err := s.Sweep(); n != 0 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(one.Path, "u/left")); err != nil {
		t.Error(err)
	}
	one.Close()
	again := claim()
	if names, err := os.ReadDir(again.Path); again.Path != one.Path || err != nil || len(names) != 0 {
		t.Errorf("claimed %s, not %s; it holds %v, %v", again.Path, one.Path, names, err)
	}
	// An empty w stays, and a sweep empties what was left.
	if err := os.Mkdir(filepath.Join(again.Path, "w"), 0o700); err != nil {
		t.Fatal(err)
	}
	again.Close()
	if again = claim(); again.Path != one.Path {
		t.Fatalf("claimed %s", again.Path)
	}
	if _, err := os.Stat(filepath.Join(again.Path, "w")); err != nil {
		t.Error(err)
	}
	if err := os.Mkdir(filepath.Join(again.Path, "u"), 0o700); err != nil {
		t.Fatal(err)
	}
	again.Close()
	if n, err := s.Sweep(); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
	if names, err := os.ReadDir(again.Path); err != nil || len(names) != 0 {
		t.Errorf("after the sweep: %v %v", names, err)
	}
	two.Close()
}
