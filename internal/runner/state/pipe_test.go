package state

import (
	"os"
	"path/filepath"
	"strings"
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
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("List waits for a writer of %s", name)
		}
	}
}

// TestDamagedRecords: what is no record, of whatever kind, does not keep the others from being listed.
func TestDamagedRecords(t *testing.T) {
	d := open(t)
	good, err := d.Create(&Container{Name: "good", Created: time.Now(), Started: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer good.Remove()
	if err := os.WriteFile(filepath.Join(d.Path, "111111111111"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for id, damage := range map[string]func(file string) error{
		"222222222222": func(file string) error { return os.WriteFile(file, []byte(`{"name":`), 0o600) },
		"333333333333": func(file string) error { return os.WriteFile(file, []byte(`[]`), 0o600) },
		"444444444444": func(file string) error { return os.Symlink("/dev/zero", file) },
		"555555555555": func(file string) error { return os.Mkdir(file, 0o700) },
		"666666666666": func(file string) error { return os.WriteFile(file, nil, 0o600) },
	} {
		dir := filepath.Join(d.Path, id)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := damage(filepath.Join(dir, "state.json")); err != nil {
			t.Fatal(err)
		}
	}
	list, err := d.List()
	if err != nil || len(list) != 1 || list[0].Name != "good" {
		t.Errorf("%v, %v", list, err)
	}
	if err := d.Sweep(); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(d.Path)
	if err != nil || len(left) != 3 { // good, the lock, and the file, of which nothing is known
		t.Errorf("%v, %v", left, err)
	}
}

// TestHeldLock: who holds the lock of all records for ever, stopped perhaps, hangs nobody.
func TestHeldLock(t *testing.T) {
	d := open(t)
	held, err := d.lock()
	if err != nil {
		t.Fatal(err)
	}
	d.patience = 50 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- d.Remove("dddddddddddd") }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), held.Name()) {
			t.Errorf("with the lock held: %v", err)
		}
	case <-time.After(time.Second):
		held.Close()
		<-done
		t.Error("a held lock is waited for without an end")
	}
	held.Close()
	if err := d.Remove("dddddddddddd"); err != nil {
		t.Errorf("with the lock free: %v", err)
	}
}
