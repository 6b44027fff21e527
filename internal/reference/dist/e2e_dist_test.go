//go:build e2e_dist

package main

import (
	"bytes"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestE2EDist: all architectures in two folders, and the package in the hands of dpkg of two generations, of lintian and
// of man, in roots that the packed program builds.
func TestE2EDist(t *testing.T) {
	one, two := sources(t), sources(t)
	for _, dir := range []string{one, two} {
		tell(t, dir, "make", "-s", "dist", "VERSION=1.2.3", "REVISION=0123456789ab", "EPOCH=1700000000")
	}
	dist := filepath.Join(one, "dist")
	if a, b := read(t, filepath.Join(dist, "SHA256SUMS")), read(t, filepath.Join(two, "dist/SHA256SUMS")); !bytes.Equal(a, b) {
		t.Errorf("two folders, two results:\n%s\n%s", a, b)
	}
	program := filepath.Join(dist, "rootctl-linux-"+runtime.GOARCH)
	isStatic(t, program)
	cache := "--cache=" + filepath.Join(t.TempDir(), "cache")
	run := func(root, script string) string {
		return tell(t, dist, program, cache, "run", "-q", "--bind", dist+":/dist:ro", root, "sh", "-ec", script)
	}
	install := "dpkg -i /dist/rootctl_1.2.3_" + runtime.GOARCH + ".deb >&2; "
	for _, suite := range []string{"bionic", "bookworm"} {
		tell(t, dist, program, cache, "build", "-q", suite)
		out := run(suite, install+`test -z "$(dpkg --verify rootctl)$(dpkg --audit)"; rootctl --version; dpkg -r rootctl >&2; ! test -e /usr/bin/rootctl`)
		if out != "rootctl version 1.2.3 0123456789ab\n" {
			t.Errorf("%s: %s", suite, out)
		}
	}
	tell(t, dist, program, cache, "build", "-q", "--include", "lintian,man-db", "--tag", "lintian", "bookworm")
	// Go's strings stand end to end in a program, so that lintian finds words in them that nobody wrote.
	if out := run("lintian", "lintian --allow-root --fail-on error,warning --display-info --suppress-tags spelling-error-in-binary /dist/*.deb"); out != "" {
		t.Errorf("lintian: %s", out)
	}
	if out := run("lintian", "rm -f /etc/dpkg/dpkg.cfg.d/*; "+install+"MANWIDTH=80 man -P cat rootctl-run"); !strings.Contains(out, "run starts a command in a fresh copy") {
		t.Errorf("man rootctl-run:\n%s", out)
	}
}
