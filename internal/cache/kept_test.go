package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestKeptCopy: neither the next container nor a collection of all takes a kept copy or the root below it.
func TestKeptCopy(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "cache"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	root := Digest("0000000000000000000000000000000000000000000000000000000000000001")
	if err := c.Keep(root); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.Path, "u", "file")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Discard(c.Path); !errors.Is(err, ErrBusy) {
		t.Errorf("discard while it is in use: %v", err)
	}
	c.Close()
	next, err := s.Scratch()
	if err != nil || next.Path == c.Path {
		t.Fatalf("the next container got %v, %v", next, err)
	}
	next.Close()
	if _, err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(context.Background(), CollectOptions{All: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(file); err != nil {
		t.Fatalf("after a collection: %v", err)
	}
	if err := s.Remove(root); !errors.Is(err, ErrBusy) {
		t.Errorf("remove the root below it: %v", err)
	}
	if err := s.Discard(filepath.Join(s.Dir(), "scratch", "..", "roots")); err == nil {
		t.Error("a folder elsewhere was discarded")
	}
	if err := s.Discard(c.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(file); err == nil {
		t.Error("it is still there after discard")
	}
	if err := s.Remove(root); errors.Is(err, ErrBusy) {
		t.Errorf("remove the root after discard: %v", err)
	}
}
