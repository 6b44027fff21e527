package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReadFile: files and links to files are read; what is none neither hangs nor is read without end.
func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	big, err := os.Create(at("big"))
	if err := errors.Join(err, os.WriteFile(at("file"), []byte("text"), 0o600), os.Symlink("file", at("link")), big.Truncate(maxUserFile+1), big.Close(),
		unix.Mkfifo(at("pipe"), 0o600), os.Symlink("/dev/zero", at("device")), os.Mkdir(at("dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"file": nil, "link": nil, "pipe": errNotRegular, "device": errNotRegular, "dir": unix.EISDIR, "absent": fs.ErrNotExist, "big": errAny} {
		done := make(chan error, 1)
		go func() {
			b, err := readFile(at(name))
			if err == nil && string(b) != "text" {
				err = errors.New("other bytes")
			}
			done <- err
		}()
		select {
		case err := <-done:
			if want == errAny && err != nil {
				continue
			}
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: it hangs", name)
		}
	}
}

var errAny = errors.New("any")
