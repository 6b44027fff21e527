package main

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
)

// digestOfRoot makes the canonical tar of a cached root anew, from its tree and manifest, after the two
// have been compared.
func digestOfRoot(t *testing.T, dir, digest string) string {
	t.Helper()
	s, err := cache.Open(dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lease(t.Context(), cache.Digest(digest))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, err := l.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	diffs, err := m.Verify(t.Context(), l.Tree)
	if err != nil || len(diffs) > 0 {
		t.Fatalf("tree against manifest: %v %v", diffs, err)
	}
	h := sha256.New()
	if err := m.WriteTar(t.Context(), h, l.Tree); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
