package snapshot

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// benchTree is $ROOTCTL_BENCH_TREE, an unpacked root, or else a made-up tree of like shape: 6,000 small
// files and a few large ones, 170 MB.
func benchTree(b *testing.B) string {
	b.Helper()
	if tree := os.Getenv("ROOTCTL_BENCH_TREE"); tree != "" {
		return tree
	}
	tree := b.TempDir()
	content := make([]byte, 30<<20)
	for i := range content {
		content[i] = byte(i >> 8 * i)
	}
	for i := range 6000 {
		dir := filepath.Join(tree, fmt.Sprint(i%300))
		size := (i*7919)%20000 + i%7*3000
		if i%1500 == 0 {
			size = len(content)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), content[:size], 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return tree
}

func BenchmarkScan(b *testing.B) {
	tree := benchTree(b)
	for b.Loop() {
		_, _, n, err := Scan(context.Background(), tree, ScanOptions{Epoch: 1 << 33})
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}

func BenchmarkWriteTar(b *testing.B) {
	tree := benchTree(b)
	m, _, n, err := Scan(context.Background(), tree, ScanOptions{Epoch: 1 << 33})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(n)
	for b.Loop() {
		if err := m.WriteTar(context.Background(), io.Discard, tree); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkManifest(b *testing.B) {
	m, _, _, err := Scan(context.Background(), benchTree(b), ScanOptions{Epoch: 1 << 33})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		r, w := io.Pipe()
		go func() { w.CloseWithError(m.Encode(w)) }()
		if _, err := ReadManifest(r); err != nil {
			b.Fatal(err)
		}
	}
}
