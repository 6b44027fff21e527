package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fileIn is a tar's member with content.
func fileIn(t testing.TB, w *tar.Writer, name string, content []byte) {
	t.Helper()
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
}

// TestImportHostileEndless gives import what is small and has no end: it is refused soon.
func TestImportHostileEndless(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cache whose imports have devices and owners")
	}
	h := newHostileImport(t)
	var images, spool bytes.Buffer
	w := tar.NewWriter(&images)
	fileIn(t, w, "manifest.json", []byte("["+strings.Repeat(`{"Config":"c","Layers":["l"]},`, 400_000)+"{}]"))
	fileIn(t, w, "c", []byte(`{"rootfs":{"diff_ids":["sha256:`+strings.Repeat("ab", 32)+`"]}}`))
	w.Close()
	w = tar.NewWriter(&spool)
	fileIn(t, w, "index.json", []byte("{}"))
	fileIn(t, w, "blobs/sha256/x", make([]byte, 80<<20))
	w.Close()
	for _, tc := range []struct {
		attack string
		data   []byte
		zeros  int64 // that follow
		says   string
	}{
		{"images without number", images.Bytes(), 0, "more than 1000 images"},
		{"image that is spooled", gzipped(t, spool.Bytes()), 0, "bytes of an image"},
		{"zeros after a tar", tarOf(t, named("file")), 200 << 30, "bytes of padding"},
	} {
		t.Run(tc.attack, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "evil.tar")
			if err := errors.Join(os.WriteFile(file, tc.data, 0o600), os.Truncate(file, int64(len(tc.data))+tc.zeros)); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			h.refused(t, file, tc.says, "--max-size", "1MB")
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestImportHostilePipe waits for a named pipe's writer: a signal ends that, and a writer who comes late is heard.
func TestImportHostilePipe(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cache whose imports have devices and owners")
	}
	h := newHostileImport(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() (*exec.Cmd, chan error) {
		c := h.command(h.cache, "import", fifo, "--tag", "evil")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Process.Kill() })
		done := make(chan error, 1)
		go func() { done <- c.Wait() }()
		return c, done
	}
	ended := func(done chan error) error {
		select {
		case err := <-done:
			return err
		case <-time.After(20 * time.Second):
			return fmt.Errorf("it does not end")
		}
	}
	c, done := start()
	time.Sleep(500 * time.Millisecond)
	if err := c.Process.Signal(unix.SIGINT); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := ended(done); !errors.As(err, &exit) {
		t.Errorf("after a signal: %v", err)
	}
	_, done = start()
	time.Sleep(300 * time.Millisecond)
	f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	if _, err := io.Copy(f, bytes.NewReader(tarOf(t, dir("."), named("late")))); err != nil {
		t.Error(err)
	}
	f.Close()
	if err := ended(done); err != nil {
		t.Errorf("with a writer: %v", err)
	}
}
