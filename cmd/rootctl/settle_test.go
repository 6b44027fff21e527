package main

import (
	"maps"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// suiteEnv serves the packages of an archive as suites that rootctl's table does not have so: stable,
// which is forky here; duke, of Debian, and odd, of somebody else.
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
		maps.Copy(files, a.Files())
	}
	server := base.Serve(t)
	server.SetFiles(files, base.Date)
	return map[string]string{"SUITES": server.URL}
}
