package main

import (
	"maps"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// suiteEnv serves the packages of an archive as suites that rootctl's table does not have so: stable,
// which is forky here; duke, of Debian; resolved, of Ubuntu, with SHA-512 sums alone; and odd, of somebody else.
func suiteEnv(t *testing.T, base *testarchive.Archive) map[string]string {
	files := map[string][]byte{}
	for dists, s := range map[string]struct{ suite, codename, origin string }{
		"stable":   {"stable", "forky", "Debian"},
		"forky":    {"stable", "forky", "Debian"},
		"testing":  {"testing", "duke", "Debian"},
		"duke":     {"testing", "duke", "Debian"},
		"resolved": {"resolved", "resolved", "Ubuntu"},
		"odd":      {"odd", "odd", "Odd"},
		"mine":     {"mine", "mine", "Mine"},
	} {
		a := *base
		a.Suite, a.Codename, a.Origin = dists, s.codename, s.origin
		a.Release = map[string]string{"Suite": s.suite}
		a.Only512 = dists == "resolved"
		maps.Copy(files, a.Files())
	}
	server := base.Serve(t)
	server.SetFiles(files, base.Date)
	return map[string]string{"SUITES": server.URL}
}

// TestRealRoles: stable is whose the real archive says, and its root has the codename's name.
func TestRealRoles(t *testing.T) {
	r := newReal(t)
	b := r.buildSuite(t, "stable")
	if b.Suite == "stable" || b.Name != b.Suite {
		t.Errorf("%+v", b)
	}
	_, errs, code := r.rootctl(t, "build", "stable")
	if code != 0 || !strings.Contains(errs, "stable is "+b.Suite+" (Debian ") || !strings.Contains(errs, b.Suite+" is cached") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	_, errs, code = r.rootctl(t, "build", "--offline", "stable")
	if code != 0 || !strings.Contains(errs, " as of 20") || !strings.Contains(errs, "no mirror was asked") {
		t.Errorf("offline: exit code %d\n%s", code, errs)
	}
	r.must(t, "run", "stable", "--", "sh", "-c", "grep -q VERSION_CODENAME="+b.Suite+" /etc/os-release")
}
