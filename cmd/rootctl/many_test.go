package main

import (
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

// TestManyRoots holds a cache of 500 roots against one of a single root: what is done once for each command must not
// grow with it. A list has 500 lines to look at and print; it has a bound of its own, and may read no record twice.
func TestManyRoots(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds, and a file system in memory")
	}
	f := newFixture(t)
	one, few := manyRoots(t, 1)
	many, _ := manyRoots(t, 500)
	for _, dir := range []string{one, many} {
		f.build(t, dir)
		f.took(t, dir, "ls") // makes the listing
	}
	digest := string(few[0])
	for _, tt := range []struct {
		what  string
		ratio float64
		args  []string
	}{
		{"name", 1.5, []string{"show", "name-0"}},
		{"digest", 1.5, []string{"show", digest}},
		{"prefix", 1.5, []string{"show", digest[:12]}},
		{"run", 1.5, []string{"run", "fixture", "true"}},
		{"hit", 1.5, f.args},
		{"ls", 12, []string{"ls"}},
		{"ls --json", 12, []string{"ls", "--json"}},
	} {
		var in [2][]time.Duration
		for range 9 { // in turn, so that what else the machine does counts for both
			for i, dir := range []string{one, many} {
				in[i] = append(in[i], f.took(t, dir, tt.args...))
			}
		}
		a, b := slices.Min(in[0]), slices.Min(in[1])
		t.Logf("%-9s %5.1f ms with 1 root, %5.1f ms with 500: %.2f times", tt.what, ms(a), ms(b), ms(b)/ms(a))
		const jitter = 10 * time.Millisecond // of a busy machine
		if float64(b-jitter) > tt.ratio*float64(a) {
			t.Errorf("%s: %.1f ms with 500 roots, %.1f ms with one", tt.what, ms(b), ms(a))
		}
	}
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

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// took is how long a command takes.
func (f *fixture) took(t *testing.T, dir string, args ...string) time.Duration {
	t.Helper()
	c := f.command(dir, args...)
	start := time.Now()
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return time.Since(start)
}
