package nat

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTidy: of other network namespaces only the folders of those go that are gone and have no container.
func TestTidy(t *testing.T) {
	base := t.TempDir()
	made := func(name string, inode uint64) string {
		dir := filepath.Join(base, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"lock", "0", "7"} {
			if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeState(dir, state{Bridge: "rootctl99", Forward: "0", Netns: inode}); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	made("gone1", 1) // no namespace has this inode
	made("gone2", ownNetns())
	held, err := os.OpenFile(filepath.Join(made("gone3", 1), "7"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := unix.Flock(int(held.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(base, "gone4"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Tidy(base); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"gone1": false, "gone2": true, "gone3": true, "gone4": false} {
		if _, err := os.Stat(filepath.Join(base, name, "lock")); (err == nil) != want {
			t.Errorf("%s: there: %v, want %v", name, err == nil, want)
		}
	}
	if err := Tidy(filepath.Join(base, "none")); err != nil {
		t.Error(err)
	}
}
