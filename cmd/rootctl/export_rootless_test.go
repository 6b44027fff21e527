package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// An ordinary user's tarball and image are root's, byte for byte; their folder lacks what they may not make, and a note
// says so.
func TestExportRootless(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it becomes other users")
	}
	e := newExported(t)
	e.must(t, "fixture", "-o", e.at("r.tar.zst"))
	want := sumOf(t, "cat", e.at("r.tar.zst"))
	for _, kind := range []string{"range", "single"} {
		t.Run(kind, func(t *testing.T) {
			o := e.as(t, kind == "single")
			o.must(t, o.args...)
			o.must(t, "export", "fixture", "-o", "r.tar.zst")
			if got := sumOf(t, "cat", filepath.Join(o.home, "r.tar.zst")); got != want {
				t.Errorf("tarball %s, root's %s", got, want)
			}
			_, errs, code := o.run(t, "export", "fixture", "--format", "dir", "-o", "tree")
			if code != 0 || !strings.Contains(errs, "device nodes were not made") || kind == "single" != strings.Contains(errs, "files belong to you") {
				t.Errorf("folder: exit code %d\n%s", code, errs)
			}
			if out, err := exec.Command("test", "-x", filepath.Join(o.home, "tree/bin/sh")).CombinedOutput(); err != nil {
				t.Errorf("no shell in the folder: %v\n%s", err, out)
			}
			if _, errs, code := o.run(t, "export", "--for", "schroot", "fixture"); code != codeFailed || !strings.Contains(errs, "sudo") {
				t.Errorf("--for schroot: exit code %d\n%s", code, errs)
			}
			if _, errs, code := o.run(t, "export", "-o", "/base.tgz", "fixture"); code != codeFailed || !strings.Contains(errs, "write /base.tgz: permission denied\n") ||
				!strings.Contains(errs, "hint: run it with sudo, or name a place of your own with -o") {
				t.Errorf("into root's folder: exit code %d\n%s", code, errs)
			}
			if _, errs, code := o.run(t, append([]string{"--cache", "/nowhere"}, o.args...)...); code == 0 || strings.Contains(errs, "ls -la /nowhere") || !strings.Contains(errs, "a folder of your own with --cache") {
				t.Errorf("a cache in root's folder: exit code %d\n%s", code, errs)
			}
			o.must(t, "export", "-q", "--for", "sbuild", "fixture")
			if got := sumOf(t, "cat", filepath.Join(o.home, ".cache/sbuild/bionic-amd64.tar.zst")); got != want {
				t.Errorf("sbuild's tarball %s, root's %s", got, want)
			}
		})
	}
}
