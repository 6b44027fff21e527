package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
)

// Where digests differ, the files that do are named.
func TestManifestsDiffer(t *testing.T) {
	file := func(name string, mode uint32) cache.Entry {
		return cache.Entry{Path: name, Type: cache.TypeFile, Mode: mode}
	}
	a := &cache.Manifest{Entries: []cache.Entry{file("gone", 0o644), file("mode", 0o644), file("same", 0o644)}}
	b := &cache.Manifest{Entries: []cache.Entry{file("mode", 0o600), file("new", 0o644), file("same", 0o644)}}
	var out bytes.Buffer
	c := &comparer{out: &out}
	c.manifestsDiffer(a, b)
	for _, want := range []string{"gone: only in the plain root", "mode: plain ", "new: not in the plain root"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("not said: %s\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "same") || strings.Count(out.String(), "DIFFERS") != 3 {
		t.Errorf("said:\n%s", &out)
	}
	out.Reset()
	if c.manifestsDiffer(b, b); out.Len() > 0 {
		t.Errorf("of one manifest:\n%s", &out)
	}
}

// A file system that the kernel has not is no way that was gone.
func TestHasFileSystem(t *testing.T) {
	if err := hasFileSystem("proc"); err != nil {
		t.Error(err)
	}
	if err := hasFileSystem("no-such-fs"); err == nil || !strings.Contains(err.Error(), "/proc/filesystems has no no-such-fs; modprobe: ") {
		t.Error(err)
	}
}

// The ways that are promised.
func TestWays(t *testing.T) {
	var names []string
	for _, w := range ways() {
		names = append(names, w.name)
		if w.name != "plain" && w.shell == "" && w.env == nil && w.flags == nil && w.ahead == 0 {
			t.Errorf("%s is the plain one", w.name)
		}
	}
	all := strings.Join(names, ", ")
	if names[0] != "plain" {
		t.Errorf("the first is %s", names[0])
	}
	for _, want := range []string{"umask", "TZ=", "LANG=", "GOMAXPROCS=", "ext4", "tmpfs", "btrfs", "xfs", "host name", "resolv.conf",
		"--userns=host", "clock two days", "clock five years"} {
		if !strings.Contains(all, want) {
			t.Errorf("none of %s is about %s", all, want)
		}
	}
}
