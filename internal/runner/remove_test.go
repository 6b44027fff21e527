package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemovePaths(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	tree := filepath.Join(dir, "tree")
	for _, d := range []string{outside, filepath.Join(tree, "a/b/c"), filepath.Join(tree, "shut")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "keep"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(tree, "a", fmt.Sprint(i)), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(tree, "link")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(tree, "fifo"), 0); err != nil {
		t.Fatal(err)
	}
	deep := nest(t, filepath.Join(tree, "deep"), 1500)
	defer unix.Close(deep)
	if err := os.Mkdir(filepath.Join(tree, ".rootctl-deep-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	err := removePaths(context.Background(), []string{tree, file, link, filepath.Join(dir, "no/such/thing")})
	if err != nil {
		t.Error(err)
	}
	for _, n := range []string{tree, file, link} {
		if exists(n) {
			t.Errorf("%s is still there", n)
		}
	}
	if !exists(filepath.Join(outside, "keep")) {
		t.Error("removed through a link")
	}
}

// nest makes directories n deep, deeper than any path can name.
func nest(t *testing.T, top string, n int) int {
	t.Helper()
	if err := os.Mkdir(top, 0o755); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(top, unix.O_PATH|unix.O_DIRECTORY, 0)
	for range n {
		if err == nil {
			err = unix.Mkdirat(fd, "d", 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		var next int
		next, err = unix.Openat(fd, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		fd = next
	}
	return fd
}

func TestRemoveReportsWhatStays(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	busy := filepath.Join(dir, "busy/mount")
	if err := os.MkdirAll(busy, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", busy, "tmpfs", 0, ""); err != nil {
		t.Skipf("needs mounts: %v", err)
	}
	defer unix.Unmount(busy, unix.MNT_DETACH)
	other := filepath.Join(dir, "other")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	err := removePaths(context.Background(), []string{filepath.Join(dir, "busy"), other})
	if err == nil || !strings.Contains(err.Error(), "busy") || exists(other) {
		t.Errorf("%v, other left: %v", err, exists(other))
	}
}
