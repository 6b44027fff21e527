package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBentFolders has caches, restored from somebody, with links in the place of folders: nothing behind them is touched.
func TestBentFolders(t *testing.T) {
	for _, name := range append([]string{"oci", "oci/blobs", "dl", "layers", "scratch", "logs"}, folders[:]...) {
		s := open(t)
		outside := t.TempDir()
		must(t, os.WriteFile(filepath.Join(outside, "precious"), nil, 0o600))
		must(t, os.RemoveAll(s.path(name)))
		must(t, os.Symlink(outside, s.path(name)))
		var bent *BentError
		if _, err := Open(s.Dir(), Options{}); !errors.As(err, &bent) || bent.Path != s.path(name) {
			t.Errorf("%s: %v", name, err)
		}
		left, err := os.ReadDir(outside)
		must(t, err)
		if len(left) != 1 {
			t.Errorf("%s: outside are %v", name, left)
		}
	}
}

// TestPipesInTheCache puts fifos where files are read: nothing waits for a writer, and a sweep takes what is in tmp/.
func TestPipesInTheCache(t *testing.T) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := open(t)
		l, err := build(context.Background(), s, "one")
		if err != nil {
			t.Error(err)
			return
		}
		l.Close()
		if err := errors.Join(os.Remove(s.mtreePath(l.Root)), unix.Mkfifo(s.mtreePath(l.Root), 0o600), unix.Mkfifo(s.path("tmp", "x"), 0o600),
			os.Symlink("/", s.path("tmp", "y"))); err != nil {
			t.Error(err)
		}
		if _, err := l.Manifest(); err == nil {
			t.Error("a fifo is a manifest")
		}
		if _, err := s.Roots(); err != nil {
			t.Error(err)
		}
		if n, err := s.Sweep(); err != nil || n < 2 {
			t.Errorf("swept %d: %v", n, err)
		}
		if err := errors.Join(os.Remove(s.path("VERSION")), unix.Mkfifo(s.path("VERSION"), 0o600)); err != nil {
			t.Error(err)
		}
		if _, err := Open(s.Dir(), Options{}); err == nil {
			t.Error("a fifo is a VERSION")
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("waits for a writer")
	}
}
