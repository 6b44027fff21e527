package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pinned reads testdata/digests.txt: a suite and the digest of its minbase root for amd64, a line each.
func pinned(t *testing.T) [][2]string {
	t.Helper()
	text, err := os.ReadFile("testdata/digests.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all [][2]string
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] != "#" {
			all = append(all, [2]string{f[0], f[1]})
		}
	}
	if len(all) != 5 {
		t.Fatalf("testdata/digests.txt names %d suites", len(all))
	}
	return all
}

// Anyone anywhere gets these bytes: the release pockets of old suites change no more.
func TestRealPinnedDigests(t *testing.T) {
	r := newReal(t)
	if hostArch() != "amd64" {
		t.Skip("needs amd64: the pinned digests are of its roots")
	}
	for _, p := range pinned(t) {
		t.Run(p[0], func(t *testing.T) {
			if b := r.buildSuite(t, p[0]); b.Digest != p[1] {
				t.Errorf("digest %s, pinned is %s", b.Digest, p[1])
			}
		})
	}
}

// README names the digests that the test pins.
func TestReadmeNamesDigests(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pinned(t) {
		if !strings.Contains(string(readme), p[0]+" "+strings.TrimPrefix(p[1], "sha256:")) {
			t.Errorf("README.md does not name %s %s", p[0], p[1])
		}
	}
}

// important has what differs from build to build by itself: a machine id, the catalog's database,
// console-setup's cache, compiled Python.
func TestRealImportantTwice(t *testing.T) {
	r := newReal(t)
	first := r.buildSuite(t, "bookworm", "--variant", "-")
	if first.Name != "bookworm-important" {
		t.Errorf("its name is %s", first.Name)
	}
	r.must(t, "run", first.Name, "--", "sh", "-c", consistent+`
test ! -e /var/lib/systemd/catalog/database
test -z "$(ls -A /run | grep -v lock)"`)
	r.dir = filepath.Join(t.TempDir(), "other")
	t.Setenv("TZ", "Pacific/Chatham")
	if second := r.buildSuite(t, "bookworm-important"); second.Cached || second.Digest != first.Digest {
		t.Errorf("second build %+v, want digest %s, not cached", second, first.Digest)
	}
}
