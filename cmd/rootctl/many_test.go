package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// manyRoots fills a cache in memory with small roots that have the records of real ones; every second one has a name.
func manyRoots(t *testing.T, n int) (dir string, digests []cache.Digest) {
	t.Helper()
	top := t.TempDir()
	if err := unix.Mount("tmpfs", top, "tmpfs", 0, "size=1g"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(top, unix.MNT_DETACH) })
	dir = filepath.Join(top, "cache")
	s, err := cache.Open(dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		d, err := smallRoot(s, i)
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	return dir, digests
}

func smallRoot(s *cache.Store, i int) (cache.Digest, error) {
	ctx := context.Background()
	t, err := s.Temp()
	if err != nil {
		return "", err
	}
	defer t.Remove()
	tree := filepath.Join(t.Path, "root")
	for _, name := range []string{"bin/sh", "etc/os-release", "etc/passwd", fmt.Sprint("usr/share/", i)} {
		path := filepath.Join(tree, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(name), 0o755); err != nil {
			return "", err
		}
	}
	m, d, size, err := cache.Scan(ctx, tree, cache.ScanOptions{Epoch: 1})
	if err != nil {
		return "", err
	}
	l, err := s.Seal(ctx, t, tree, m, d)
	if err != nil {
		return "", err
	}
	defer l.Close()
	made := time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC)
	info, err := json.Marshal(debootstrap.Info{Suite: "bookworm", Title: "Debian 12 (bookworm)", Variant: "minbase", Arch: "amd64",
		Components: []string{"main"}, Sources: "http://mirror.example.org/debian", Packages: 88, TarSize: size, Built: made,
		Include: []string{fmt.Sprint("package-", i)},
		Pockets: []debootstrap.InfoPocket{{Name: "release", Suite: "bookworm", Date: made, Mirror: "http://mirror.example.org/debian",
			Signers: []string{"Debian Stable Release Key (12/bookworm) <debian-release@lists.debian.org> 4D64FEC119C2029067D6E791F8D2585B8783D481"}}}})
	if err != nil {
		return "", err
	}
	input := fmt.Appendf(nil, `{"kind":"root","n":%d}`, i)
	key := cache.Sum(input)
	lock := debootstrap.Lock{}
	for p := range 88 {
		lock.Packages = append(lock.Packages, debootstrap.LockPackage{Name: fmt.Sprint("p", p), SHA256: cache.Sum(fmt.Append(nil, i, p)), Stanza: strings.Repeat("Field: value\n", 60)})
	}
	if err := s.StoreInputs(key, input); err != nil {
		return "", err
	}
	if err := s.StoreAction(key, struct {
		Kind string            `json:"kind"`
		Root cache.Digest      `json:"root"`
		Info json.RawMessage   `json:"info"`
		Lock *debootstrap.Lock `json:"lock"`
	}{"root", d, info, &lock}); err != nil {
		return "", err
	}
	if i%2 == 0 {
		return d, s.SetRef(cache.Ref{Name: fmt.Sprint("name-", i), Root: d, Key: key, Info: info, Time: made}, nil)
	}
	return d, nil
}

// TestManyRoots holds a cache of 500 roots against one of a single root, by the processor's time and by system calls: what
// is done for each command must not grow with it. A list opens nothing for each root, and looks in JSON at the stamp of its
// last use.
func TestManyRoots(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds, and a file system in memory")
	}
	f := newFixture(t)
	one, few := manyRoots(t, 1)
	many, _ := manyRoots(t, 500)
	time.Sleep(200 * time.Millisecond) // a listing trusts no change that is younger
	for _, dir := range []string{one, many} {
		f.build(t, dir)
	}
	digest := string(few[0])
	probes := 0.0
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns != "pid:[4026531836]" {
		probes = 0.5 // in a container the kernel does not tell which locks are held: each is tried
	}
	for _, tt := range []struct {
		what  string
		ratio float64 // of the processor's time
		opens int     // a root
		stats int
		args  []string
	}{
		{what: "name", ratio: 1.5, args: []string{"show", "name-0"}},
		{what: "digest", ratio: 1.5, args: []string{"show", digest}},
		{what: "prefix", ratio: 1.5, args: []string{"show", digest[:12]}},
		{what: "run", ratio: 1.5, args: []string{"run", "fixture", "true"}},
		{what: "hit", ratio: 1.5, args: f.args},
		{what: "ls", ratio: 1.5 + probes, opens: int(2 * probes), args: []string{"ls"}},
		{what: "ls --json", ratio: 2.5 + probes, opens: int(2 * probes), stats: 1, args: []string{"ls", "--json"}},
	} {
		for _, dir := range []string{one, many} { // a hit notes that it asked, and the first list what it saw
			time.Sleep(120 * time.Millisecond)
			f.took(t, dir, "ls")
		}
		var least [2]time.Duration
		for range 15 { // in turn, so that what else the machine does counts for both
			for i, dir := range []string{one, many} {
				if d := f.took(t, dir, tt.args...); least[i] == 0 || d < least[i] {
					least[i] = d
				}
			}
		}
		ratio := ms(least[1]) / ms(least[0])
		t.Logf("%-9s %5.1f ms with 1 root, %5.1f ms with 500: %.2f times", tt.what, ms(least[0]), ms(least[1]), ratio)
		if ratio > tt.ratio {
			t.Errorf("%s takes %.2f times as long with 500 roots", tt.what, ratio)
		}
		for _, dir := range []string{one, many} {
			time.Sleep(120 * time.Millisecond)
			f.took(t, dir, "ls")
		}
		a, b := f.calls(t, one, tt.args...), f.calls(t, many, tt.args...)
		const some = 30 // opens and stats are a few more or less from run to run
		if opens, stats := b.opens-a.opens, b.stats-a.stats; opens > 500*tt.opens+some || stats > 500*tt.stats+some {
			t.Errorf("%s: %d opens and %d stats more with 500 roots", tt.what, opens, stats)
		}
	}
}

// TestListingOfMany: after a change of one root one record is read, not 500, and the next list reads none.
func TestListingOfMany(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system in memory")
	}
	many, _ := manyRoots(t, 500)
	s, err := cache.Open(many, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	list := func() {
		if _, err := s.Listing("test", func(cache.Ref) (string, error) { read++; return "", nil }); err != nil {
			t.Fatal(err)
		}
	}
	list()
	first := read
	list()
	if first < 500 || read != first {
		t.Errorf("%d records read for the first list, %d for the second", first, read-first)
	}
	r, err := s.Ref("name-0")
	if err != nil {
		t.Fatal(err)
	}
	r.Name = "another"
	if err := s.SetRef(r, nil); err != nil {
		t.Fatal(err)
	}
	if list(); read != first+1 {
		t.Errorf("%d records read after a change of one", read-first)
	}
}

// TestCareIsLinear: what gc and verify do for each root does not grow with the number of roots.
func TestCareIsLinear(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system in memory")
	}
	f := newFixture(t)
	sizes := [...]int{50, 100, 200}
	var dirs [len(sizes)]string
	for i, n := range sizes {
		dirs[i], _ = manyRoots(t, n)
	}
	for _, args := range [][]string{
		{"cache", "df", "--json"},
		{"cache", "verify", "--roots"},
		{"cache", "gc", "--dry-run", "--max-size", "1B"},
		{"cache", "gc", "--max-size", "1B"}, // the last, for it does it once
	} {
		var per [len(sizes)]struct{ opens, stats, us float64 }
		for i, n := range sizes {
			if !slices.Equal(args, []string{"cache", "gc", "--max-size", "1B"}) {
				least := f.took(t, dirs[i], args...)
				for range 2 {
					least = min(least, f.took(t, dirs[i], args...))
				}
				per[i].us = float64(least.Microseconds()) / float64(n)
			}
			c := f.calls(t, dirs[i], args...)
			per[i].opens, per[i].stats = float64(c.opens)/float64(n), float64(c.stats)/float64(n)
			t.Logf("%v of %d roots: %.1f opens, %.1f stats, %.0f us a root", args, n, per[i].opens, per[i].stats, per[i].us)
		}
		a, b := per[0], per[2] // what is done once makes the first the greater
		if b.opens > 1.05*a.opens || b.stats > 1.05*a.stats || b.us > 1.4*a.us {
			t.Errorf("%v does more for each of %d roots than for each of %d", args, sizes[2], sizes[0])
		}
	}
}

type calls struct{ opens, stats int }

// calls counts the system calls of a command that look at files by name.
func (f *fixture) calls(t *testing.T, dir string, args ...string) (n calls) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	c := f.command(dir, args...)
	c.Path, c.Args = "/usr/bin/strace", append([]string{"strace", "-f", "--seccomp-bpf", "-qq", "-o", trace, "-e", "signal=none", "-e", "trace=open,openat,openat2,stat,lstat,newfstatat,statx", f.self}, args...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.Contains(line, "resumed>"):
		case strings.Contains(line, " open"):
			n.opens++
		default:
			n.stats++
		}
	}
	return n
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// took is the processor's time of a command, which what else the machine does disturbs less than the clock's.
func (f *fixture) took(t *testing.T, dir string, args ...string) time.Duration {
	t.Helper()
	c := f.command(dir, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &stderr)
	}
	return c.ProcessState.UserTime() + c.ProcessState.SystemTime()
}
