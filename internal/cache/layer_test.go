package cache

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLayer(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Umask(unix.Umask(0o077))
	files := map[string][]byte{"etc/hostname": []byte("x\n"), "etc/a/b": nil}
	one, err := s.Layer(files)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"": 0o755, "etc": 0o755, "etc/a": 0o755, "etc/hostname": 0o644, "etc/a/b": 0o644} {
		st, err := os.Stat(filepath.Join(one.Path, name))
		if err != nil || st.Mode().Perm() != mode {
			t.Errorf("%q: %v %v, want %v", name, st, err, mode)
		}
	}
	if b, err := os.ReadFile(filepath.Join(one.Path, "etc/hostname")); err != nil || string(b) != "x\n" {
		t.Errorf("hostname: %q %v", b, err)
	}
	if two, err := s.Layer(files); err != nil || two.Path != one.Path {
		t.Errorf("again: %v %v, want %v", two, err, one)
	}
	files["etc/a/b"] = []byte("x")
	if two, err := s.Layer(files); err != nil || two.Path == one.Path {
		t.Errorf("other content: %v %v", two, err)
	}
	if _, err := s.Layer(map[string][]byte{"../x": nil}); err == nil {
		t.Error("a path that leads out was taken")
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v %v", left, err)
	}
	s.readOnly = true
	if _, err := s.Layer(files); err != nil {
		t.Errorf("read-only, there: %v", err)
	}
	if _, err := s.Layer(map[string][]byte{"etc/new": nil}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("read-only: %v", err)
	}
}
