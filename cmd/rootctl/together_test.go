package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

const together = 16

// crowd is a number of builds that run at once.
type crowd struct {
	cmds []*exec.Cmd
	errs []*said
	outs []*bytes.Buffer
}

// said collects what a process prints, to be looked at while it runs.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start begins n builds of what args gives for each.
func (f *fixture) start(t *testing.T, dir string, n int, args func(i int) []string) *crowd {
	t.Helper()
	c := &crowd{}
	for i := range n {
		cmd, errs, out := f.command(dir, args(i)...), &said{}, &bytes.Buffer{}
		cmd.Stderr, cmd.Stdout = errs, out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		limit := time.AfterFunc(2*time.Minute, func() { cmd.Process.Kill() })
		t.Cleanup(func() { limit.Stop() })
		c.cmds, c.errs, c.outs = append(c.cmds, cmd), append(c.errs, errs), append(c.outs, out)
	}
	return c
}

// wait returns how many of the builds made the root and how many found it; all but those in killed must succeed.
func (c *crowd) wait(t *testing.T, killed ...int) (ready, cached int) {
	t.Helper()
	for i, cmd := range c.cmds {
		if err := cmd.Wait(); err != nil && !slices.Contains(killed, i) {
			t.Errorf("build %d: %v\n%s", i, err, c.errs[i])
		}
		switch text := c.errs[i].String(); {
		case slices.Contains(killed, i):
		case strings.Contains(text, " is ready: "):
			ready++
		case strings.Contains(text, " is cached: "):
			cached++
		}
	}
	return ready, cached
}

// saying counts the builds that have printed something.
func (c *crowd) saying(text string) (n int) {
	for _, e := range c.errs {
		if strings.Contains(e.String(), text) {
			n++
		}
	}
	return n
}

// until waits for something to come about.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("not within a minute: %s", what)
			return
		}
	}
}

// gate lets a build go on only once it is opened: it holds one download of dpkg.
func (f *fixture) gate(t *testing.T) (open func()) {
	gate := make(chan struct{})
	open = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(open)
	f.server.Fault(testarchive.Fault{Path: "dpkg_*.deb", Times: 1, Before: func() { <-gate }})
	return open
}

// fetched lists the paths that were sent whole, with how often.
func (f *fixture) fetched() map[string]int {
	n := make(map[string]int)
	for _, r := range f.server.Requests() {
		if r.Status == http.StatusOK || r.Status == http.StatusPartialContent {
			n[r.Path]++
		}
	}
	return n
}

// TestSixteenBuildsOfOneSuite: one builds, the others say whom they wait for and take its root. Then all ask again, and
// the mirror sends nothing.
func TestSixteenBuildsOfOneSuite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	open := f.gate(t)
	same := func(int) []string { return f.args }
	c := f.start(t, dir, together, same)
	const waiting = "waiting for another build of bionic\n"
	until(t, "all but one wait", func() bool { return c.saying(waiting) == together-1 })
	open()
	if ready, cached := c.wait(t); ready != 1 || cached != together-1 {
		t.Errorf("%d built, %d found it in the cache", ready, cached)
	}
	for i, e := range c.errs {
		text := e.String()
		if strings.Contains(text, " is cached: ") && (strings.Index(text, waiting) > strings.Index(text, " is cached: ") || strings.Count(text, waiting) != 1) {
			t.Errorf("build %d waited and was not told so once:\n%s", i, text)
		}
	}
	for path, n := range f.fetched() {
		if n > 1 && !strings.HasSuffix(path, "/InRelease") {
			t.Errorf("%s was fetched %d times", path, n)
		}
	}
	f.checkLeft(t, dir, "after 16 builds")

	f.server.Reset()
	if ready, cached := f.start(t, dir, together, same).wait(t); ready != 0 || cached != together {
		t.Errorf("the second time %d built, %d found it in the cache", ready, cached)
	}
	requests := f.server.Requests()
	for _, r := range requests {
		if !strings.HasSuffix(r.Path, "/InRelease") || r.Status != http.StatusNotModified {
			t.Errorf("the second time the mirror was asked for %s: %d", r.Path, r.Status)
		}
	}
	if len(requests) != together {
		t.Errorf("%d requests by %d builds", len(requests), together)
	}
}

// TestDeadBuilderIsReplaced: when the one that builds is killed, one of those who wait builds.
func TestDeadBuilderIsReplaced(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	open := f.gate(t)
	c := f.start(t, dir, 5, func(int) []string { return f.args })
	const waiting = "waiting for another build of bionic\n"
	until(t, "all but one wait", func() bool { return c.saying(waiting) == 4 })
	builder := slices.IndexFunc(c.errs, func(e *said) bool { return !strings.Contains(e.String(), waiting) })
	if builder < 0 {
		t.Fatal("nobody builds")
	}
	if err := c.cmds[builder].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	open()
	if ready, cached := c.wait(t, builder); ready != 1 || cached != 3 {
		t.Errorf("%d built, %d found it in the cache; want 1 and 3", ready, cached)
	}
	f.checkKilled(t, dir, "after a killed builder")
}

// TestSixteenIncludeSets: different roots are built beside each other, and what they have in common is fetched once.
func TestSixteenIncludeSets(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	archive := testarchive.HostArchive(t, "bionic")
	for i := range together {
		name := fmt.Sprintf("extra%d", i)
		archive.Add(testarchive.Package{Name: name, Fields: map[string]string{"Priority": "optional"},
			Files: []testarchive.File{{Name: "usr/share/" + name, Body: name}}})
	}
	f := fixtureOf(t, archive)
	dir := filepath.Join(t.TempDir(), "cache")
	different := func(i int) []string {
		args := slices.DeleteFunc(slices.Clone(f.args), func(a string) bool { return a == "--tag" || a == "fixture" })
		return append(args, "--include", fmt.Sprintf("extra%d", i), "--tag", fmt.Sprintf("tag%d", i))
	}
	c := f.start(t, dir, together, different)
	if ready, cached := c.wait(t); ready != together || cached != 0 {
		t.Errorf("%d built, %d found it in the cache; want all built", ready, cached)
	}
	fetched := f.fetched()
	for path, n := range fetched {
		if n > 1 && !strings.HasSuffix(path, "/InRelease") {
			t.Errorf("%s was fetched %d times", path, n)
		}
	}
	out, err := f.command(dir, "ls", "--json").Output()
	var rows []lsRow
	if err == nil {
		err = json.Unmarshal(out, &rows)
	}
	digests := make(map[string]bool)
	for _, r := range rows {
		digests[r.Digest] = true
	}
	if err != nil || len(rows) != together || len(digests) != together {
		t.Errorf("%d names of %d roots, want %d: %v", len(rows), len(digests), together, err)
	}
	f.server.Reset()
	if ready, cached := f.start(t, dir, together, different).wait(t); ready != 0 || cached != together {
		t.Errorf("the second time %d built, %d found it in the cache", ready, cached)
	}
	if got := f.fetched(); len(got) != 0 {
		t.Errorf("the second time the mirror sent %v", got)
	}
	f.checkLeft(t, dir, "after builds of 16 include sets")
}
