package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The stand-ins for deb-systemd-helper and dpkg-maintscript-helper do what the programs do, in every version of
// the first and half of those of the second; trees of all suites are compared by make compare-all.
func TestRealStandIns(t *testing.T) {
	r := newReal(t)
	dir := t.TempDir()
	scripts, err := filepath.Glob("../../internal/debootstrap/fast/*.sh")
	if err != nil || len(scripts) != 2 {
		t.Fatalf("stand-ins: %v %v", scripts, err)
	}
	for _, s := range append(scripts, "testdata/standins/compare.sh") {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(s)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, suite := range []string{"xenial", "bionic", "focal", "jammy", "bookworm"} {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			r.buildSuite(t, suite)
			out := r.must(t, "run", "--bind", dir+":/standins:ro", suite, "sh", "/standins/compare.sh")
			if !strings.HasPrefix(out, "done: ") {
				t.Errorf("stand-in and program differ:\n%.4000s", out)
			}
		})
	}
}
