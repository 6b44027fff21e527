package main

import (
	"strings"
	"testing"
)

// Bionic's security pocket has newer versions of many packages of a plain bionic, and of none that was
// made with it. Looking changes no root.
func TestRealCheckUpdates(t *testing.T) {
	r := newReal(t)
	plain := r.buildSuite(t, "bionic")
	b := r.buildSuite(t, "--check-updates", "bionic")
	if !b.Cached || b.Digest != plain.Digest || b.Updates == nil || b.Updates.Suite != "bionic-security" || b.Updates.Packages < 40 || b.Updates.Packages > b.Packages {
		t.Errorf("%+v", b)
	}
	if out := r.must(t, "ls"); !strings.Contains(out, "security updates as of") || !strings.Contains(out, "release 2018-04-26") {
		t.Errorf("ls:\n%s", out)
	}
	b = r.buildSuite(t, "--pocket", "updates,security", "--check-updates", "--tag", "new", "bionic")
	if b.Updates != nil || len(b.Pockets) != 3 || b.Pockets[1].Suite != "bionic-security" && b.Pockets[2].Suite != "bionic-security" {
		t.Errorf("with the pockets: %+v", b)
	}
	if out := r.must(t, "show", "new"); !strings.Contains(out, "bionic-updates of ") || !strings.Contains(out, "bionic-security of ") {
		t.Errorf("show:\n%s", out)
	}
	r.must(t, "run", "new", "--", "sh", "-c", consistent)
}
