package state

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pipe in the place of a record's file must not hold up each verb for ever: nobody ever writes to it.
func TestRecordThatIsAPipe(t *testing.T) {
	for _, name := range [...]string{"lock", "state.json"} {
		d := open(t)
		dir := filepath.Join(d.Path, "cccccccccccc")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(dir, name))
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { _, err := d.List(); done <- err }()
		select {
		case err := <-done:
			t.Logf("%s: %v", name, err)
		case <-time.After(10 * time.Second):
			t.Fatalf("List waits for a writer of %s", name)
		}
	}
}
