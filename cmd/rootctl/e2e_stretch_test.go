//go:build e2e_stretch

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestStretchFromItsArchive builds the real stretch from archive.debian.org, or from where E2E_STRETCH says
// (flags of build, separated by blanks). Asked for by name (make e2e-stretch), it never skips.
func TestStretchFromItsArchive(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("needs root: builds and containers")
	}
	r := &real{fixture: &fixture{self: ownCopy(t)}, dir: t.TempDir()}
	args := append([]string{"build", "--mirror=default"}, strings.Fields(os.Getenv("E2E_STRETCH"))...)
	_, errs, code := r.rootctl(t, append(args, "--tag", "real-stretch", "stretch")...)
	if code != 0 {
		t.Fatalf("build stretch: exit code %d\n%s", code, errs)
	}
	t.Log(errs)
	checkStretch(t, r, "real-stretch")
	if got := r.must(t, "run", "real-stretch", "echo", "hello"); got != "hello\n" {
		t.Errorf("a command printed %q", got)
	}
	list := strings.Fields(r.must(t, "run", "real-stretch", "dpkg-query", "-W", "-f", "${Package}\n"))
	slices.Sort(list)
	want := stretchNames(t)
	slices.Sort(want)
	if d := cmp.Diff(want, list); d != "" {
		t.Errorf("packages (-published image +ours):\n%s", d)
	}
	checkAptInside(t, r, "real-stretch")
}
