package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
)

// manifestOf is the manifest of a cached root.
func manifestOf(t *testing.T, dir, digest string) *cache.Manifest {
	t.Helper()
	s, err := cache.Open(dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lease(t.Context(), cache.Digest(strings.TrimPrefix(digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, err := l.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameTree compares a tree with a manifest: every name's type, device numbers, mode, owner, size, time, attributes,
// content and hard links, and that there is nothing else. It returns how many entries are alike. mend, if not nil, may
// change an entry of the tree before: what the tool that made it is known to do otherwise.
func sameTree(t *testing.T, m *cache.Manifest, tree string, mend func(want, got *cache.Entry)) int {
	t.Helper()
	got, _, _, err := cache.Scan(t.Context(), tree, cache.ScanOptions{Epoch: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]*cache.Entry{}
	for i := range got.Entries {
		at[got.Entries[i].Path] = &got.Entries[i]
	}
	alike := 0
	for i := range m.Entries {
		want := &m.Entries[i]
		have := at[want.Path]
		delete(at, want.Path)
		if have == nil {
			t.Errorf("%s is missing: %s", tree, want.Path)
			continue
		}
		if mend != nil {
			mend(want, have)
		}
		if a, b := fmt.Sprintf("%+v", *want), fmt.Sprintf("%+v", *have); a != b {
			t.Errorf("%s:\n want %s\n have %s", want.Path, a, b)
			continue
		}
		alike++
	}
	for path := range at {
		t.Errorf("%s has what the root has not: %s", tree, path)
	}
	return alike
}

// devicesIn counts the manifest's device nodes, files with capabilities and hard links.
func census(m *cache.Manifest) (devices, caps, links int) {
	for _, e := range m.Entries {
		switch e.Type {
		case cache.TypeChar, cache.TypeBlock:
			devices++
		case cache.TypeHardlink:
			links++
		}
		if e.Xattrs["security.capability"] != "" {
			caps++
		}
	}
	return devices, caps, links
}

// gnuTar unpacks as its manual says for whole systems.
func gnuTar(t *testing.T, file, dir string) {
	t.Helper()
	c := exec.Command("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", file, "-C", dir)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("tar: %v\n%s", err, out)
	}
}

// exported is a fixture root in a cache, and rootctl to export it.
type exported struct {
	*fixture
	dir, root string
	work      string
}

func newExported(t *testing.T) *exported {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	work := t.TempDir()
	e := &exported{fixture: f, dir: filepath.Join(work, "cache"), work: work}
	e.root = strings.TrimPrefix(f.build(t, e.dir), "sha256:")
	return e
}

func (e *exported) at(name string) string { return filepath.Join(e.work, name) }

func (e *exported) export(t *testing.T, args ...string) (string, string, int) {
	t.Helper()
	c := e.command(e.dir, append([]string{"export"}, args...)...)
	return outcome(t, c)
}

func (e *exported) must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := e.export(t, args...)
	if code != 0 {
		t.Fatalf("export %v: exit code %d\n%s", args, code, errs)
	}
	return out
}

// left are the names in the work folder beside those that belong there.
func (e *exported) left(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(e.work)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range entries {
		if f.Name() != "cache" {
			names = append(names, f.Name())
		}
	}
	return names
}

func sumOf(t *testing.T, argv ...string) string {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	r, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
