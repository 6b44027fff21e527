package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestBuildCheck builds a root twice: the same passes, cached or not, and one whose script writes a random number fails
// with the path, leaves the first and nothing else.
func TestBuildCheck(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	check := append(slices.Clone(f.args), "--check")
	for _, cached := range []string{"is ready: ", "is cached: "} {
		out, err := f.command(dir, check...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), cached) || !strings.Contains(string(out), "built twice from the same inputs: both are ") {
			t.Errorf("%v\n%s", err, out)
		}
	}
	f.checkLeft(t, dir, "after --check")
	if out, err := f.command(dir, append(check, "--offline")...).CombinedOutput(); err == nil || !strings.Contains(string(out), "drop --offline or --check") {
		t.Errorf("offline: %v\n%s", err, out)
	}
	f.server.Fault(testarchive.Fault{Status: 503, Path: "*"})
	if out, err := f.command(dir, check...).CombinedOutput(); err == nil {
		t.Errorf("without an archive there is nothing to compare with\n%s", out)
	}

	archive := testarchive.HostArchive(t, "bionic")
	archive.Add(testarchive.Package{Name: "random", Fields: map[string]string{"Priority": "optional"}, Scripts: map[string]string{
		"postinst": "#!/bin/sh\nset -e\nread -r id < /proc/sys/kernel/random/uuid\necho \"$id\" > /etc/random\n"}})
	f = fixtureOf(t, archive)
	dir = filepath.Join(t.TempDir(), "cache")
	args := append(slices.Clone(f.args), "--include", "random", "--json")
	var first buildReport
	out, err := f.command(dir, args...).Output()
	if err == nil {
		err = json.Unmarshal(out, &first)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := f.command(dir, append(args, "--check")...)
	var errs strings.Builder
	c.Stderr = &errs
	out, err = c.Output()
	var failed failure
	if code := c.ProcessState.ExitCode(); code != codeFailed || json.Unmarshal(out, &failed) != nil {
		t.Errorf("exit code %d, %v\n%s", code, err, out)
	}
	if want := []string{"content etc/random"}; !slices.Equal(failed.Differ, want) || !strings.Contains(errs.String(), "\n  content etc/random\n") ||
		!strings.Contains(errs.String(), "1 paths differ") || failed.Hint == "" {
		t.Errorf("differ %q, want %q\n%s", failed.Differ, want, &errs)
	}
	f.checkLeft(t, dir, "after --check has failed")
	var again buildReport
	if out, err := f.command(dir, args...).Output(); err != nil || json.Unmarshal(out, &again) != nil || !again.Cached || again.Digest != first.Digest {
		t.Errorf("the first is not kept: %+v, %v", again, err)
	}

	// Once the first is gone the next takes its place, and that is said.
	if err := os.RemoveAll(filepath.Join(dir, "roots")); err != nil {
		t.Fatal(err)
	}
	c = f.command(dir, args...)
	errs.Reset()
	c.Stderr = &errs
	short := strings.TrimPrefix(first.Digest, "sha256:")[:12]
	if err := c.Run(); err != nil || !strings.Contains(errs.String(), "warning: the same inputs gave root "+short+" before and ") {
		t.Errorf("%v\n%s", err, &errs)
	}
}
