package container

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A layer lies over a root's /etc where it hides nothing of it.
func TestOddEtc(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners")
	}
	for _, c := range []struct {
		summary string
		change  func(etc string) error
		odd     bool
	}{
		{"as ever", func(string) error { return nil }, false},
		{"none", os.Remove, false},
		{"a link", func(etc string) error { return errors.Join(os.Remove(etc), os.Symlink("usr/etc", etc)) }, false},
		{"closed", func(etc string) error { return os.Chmod(etc, 0o700) }, true},
		{"sticky", func(etc string) error { return os.Chmod(etc, 0o755|os.ModeSticky) }, true},
		{"another owner", func(etc string) error { return os.Chown(etc, 33, 0) }, true},
		{"another group", func(etc string) error { return os.Chown(etc, 0, 42) }, true},
		{"an attribute", func(etc string) error { return unix.Setxattr(etc, "user.note", []byte("x"), 0) }, true},
		{"many attributes", func(etc string) error {
			name := make([]byte, 200)
			for i := range name {
				name[i] = 'x'
			}
			return errors.Join(unix.Setxattr(etc, "user."+string(name), nil, 0), unix.Setxattr(etc, "user.a"+string(name), nil, 0))
		}, true},
	} {
		tree := t.TempDir()
		etc := filepath.Join(tree, "etc")
		if err := errors.Join(os.Mkdir(etc, 0o755), os.Chmod(etc, 0o755), c.change(etc)); err != nil {
			if errors.Is(err, unix.ENOTSUP) {
				continue // no such attributes on this file system
			}
			t.Fatal(err)
		}
		if got := OddEtc(tree); got != c.odd {
			t.Errorf("%s: odd %v, want %v", c.summary, got, c.odd)
		}
	}
}
