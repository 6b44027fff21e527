package state

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// BenchmarkRecord is what the record of a run in the foreground costs: made, written twice, removed.
func BenchmarkRecord(b *testing.B) {
	if err := os.MkdirAll("/run", 0o755); err != nil {
		b.Skip("needs root: /run")
	}
	dir, err := os.MkdirTemp("/run", "rootctl-bench-")
	if err != nil {
		b.Skip("needs root: /run")
	}
	defer os.RemoveAll(dir)
	d, err := Open(filepath.Join(dir, "containers"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := d.Sweep(); err != nil {
			b.Fatal(err)
		}
		h, err := d.Create(&Container{Root: "sha256:0", RootName: "bench", Created: time.Now(), Monitor: os.Getpid()})
		if err != nil {
			b.Fatal(err)
		}
		for range 2 {
			if err := h.Save(); err != nil {
				b.Fatal(err)
			}
		}
		if err := h.Remove(); err != nil {
			b.Fatal(err)
		}
	}
}
