package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// check looks the cache through while nobody is at it; it reads so many of the roots whole.
func (s *soak) check(t *testing.T, roots int) {
	t.Helper()
	s.checks++
	for _, p := range s.gone(t) {
		s.litter++
		t.Errorf("left behind: %s", p)
	}
	c := s.command(s.dir, "ls", "--json")
	out, err := c.Output()
	var rows []lsRow
	if err == nil {
		err = json.Unmarshal(out, &rows)
	}
	if err != nil {
		s.broken++
		t.Errorf("rootctl ls: %v\n%s", err, out)
		return
	}
	for _, row := range rows {
		if why := s.judgeRow(row); why != "" {
			s.wrong++
			t.Errorf("rootctl ls: %s %s: %s", row.Name, row.Digest, why)
		}
	}
	store, err := cache.Open(s.dir, cache.Options{})
	if err != nil {
		s.broken++
		t.Error(err)
		return
	}
	s.readRoots(t, store, roots)
	s.collect(t)
	s.readImages(t)
	for _, name := range append(strange(t, s.dir), s.outside(t)...) {
		s.litter++
		t.Errorf("litter: %s%s", name, holders(filepath.Join(s.dir, name)))
	}
}

// gone waits for keepers and containers, and lists what there still is: processes, mounts. A process that is ending is
// waited for, too, though nothing tells whose it was: the kernel takes its memory, and with that its program's name, before it
// closes its files, locks among them, and closing a mount takes a while.
func (s *soak) gone(t *testing.T) (left []string) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left = s.processes(t, s.dir) // before those that are ending, or one could pass from here to there unseen
		if len(left) == 0 && !someEnding(t) || time.Now().After(end) {
			return left
		}
	}
}

// someEnding tells whether any process has begun to end and is no zombie yet (proc_pid_stat(5)).
func someEnding(t *testing.T) bool {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range stats {
		b, err := os.ReadFile(p)
		i := bytes.LastIndexByte(b, ')') // the name in parentheses may hold anything
		if f := strings.Fields(string(b[i+1:])); err == nil && len(f) > 17 {
			flags, _ := strconv.ParseUint(f[6], 10, 64)
			const exiting = 0x4 // PF_EXITING
			if whole := f[0] == "Z" && f[17] == "1"; flags&exiting != 0 && !whole {
				return true
			}
		}
	}
	return false
}

// holders says which processes have a file open, its lock perhaps.
func holders(path string) (out string) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == path {
			args, _ := os.ReadFile(filepath.Join(filepath.Dir(fd), "../cmdline"))
			out += fmt.Sprintf(", open as %s of %q", fd, args)
		}
	}
	return out
}

// judgeRow holds a listed root against the undisturbed ones.
func (s *soak) judgeRow(row lsRow) string {
	d := strings.TrimPrefix(row.Digest, "sha256:")
	known := false
	for _, w := range s.want {
		if w.name == row.Name && w.digest != d {
			return "want " + w.digest
		}
		known = known || w.digest == d
	}
	if !known {
		return "no undisturbed build made this root"
	}
	return ""
}

// readRoots compares some roots with their manifests, byte for byte.
func (s *soak) readRoots(t *testing.T, store *cache.Store, n int) {
	t.Helper()
	ctx := context.Background()
	list, err := store.Roots()
	if err != nil {
		t.Error(err)
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, r := range list[:min(n, len(list))] {
		s.red++
		l, err := store.Lease(ctx, r.Digest)
		if err != nil {
			s.broken++
			t.Error(err)
			continue
		}
		m, err := l.Manifest()
		var diffs []string
		if err == nil {
			diffs, err = m.Verify(ctx, l.Tree)
		}
		if err != nil || len(diffs) > 0 {
			s.wrong++
			t.Errorf("root %s: %q %v", r.Digest.Short(), diffs, err)
		}
		l.Close()
	}
}

// readImages checks every blob, and that the index lists only what is there.
func (s *soak) readImages(t *testing.T) {
	t.Helper()
	blobs := filepath.Join(s.dir, "oci/blobs/sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(blobs, e.Name()))
		if err != nil || string(cache.Sum(b)) != e.Name() {
			s.wrong++
			t.Errorf("blob %s: another digest, %v", e.Name(), err)
		}
	}
	b, err := os.ReadFile(filepath.Join(s.dir, "oci/index.json"))
	if err != nil {
		return // it is made when an image is
	}
	var index struct{ Manifests []struct{ Digest string } }
	if err := json.Unmarshal(b, &index); err != nil {
		s.wrong++
		t.Errorf("index.json: %v", err)
	}
	for _, m := range index.Manifests {
		if _, err := os.Stat(filepath.Join(blobs, strings.TrimPrefix(m.Digest, "sha256:"))); err != nil {
			s.wrong++
			t.Errorf("index.json: %v", err)
		}
	}
}

// outside lists what exports left beside their files.
func (s *soak) outside(t *testing.T) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(s.out)
	if err != nil {
		t.Error(err)
	}
	for _, e := range entries {
		out = append(out, "beside the exports: "+e.Name())
	}
	return out
}

// collect has garbage collected; the parts of broken downloads go the second time.
func (s *soak) collect(t *testing.T) {
	for range 2 {
		if out, err := s.command(s.dir, "cache", "gc").CombinedOutput(); err != nil {
			s.broken++
			t.Errorf("rootctl cache gc: %v\n%s", err, out)
		}
	}
}

// layout is all that a cache at rest may hold; what is below a root or a layer is its own.
var layout = regexp.MustCompile(`^(VERSION|listing|oci|oci/oci-layout|oci/index\.json|oci/blobs|oci/blobs/sha256|oci/blobs/sha256/[0-9a-f]{64}` +
	`|dl|dl/sha256|dl/sha256/[0-9a-f]{64}|actions|actions/[0-9a-f]{64}|inputs|inputs/[0-9a-f]{64}\.json` +
	`|refs|refs/[A-Za-z0-9][A-Za-z0-9._+:-]*|releases|releases/[A-Za-z0-9][A-Za-z0-9._+:-]*` +
	`|roots|roots/[0-9a-f]{64}|roots/[0-9a-f]{64}\.mtree(-[0-9a-f]{32})?|roots/[0-9a-f]{64}\.u2147418112|use|use/[0-9a-f]{64}` +
	`|locks|locks/(store|index|gc)|locks/(key|blob)-[0-9a-f]{2}|locks/root-[0-9a-f]{64}` +
	`|tmp|trash|layers|layers/[0-9a-f]{64}|scratch|scratch/[0-9]+|scratch/[0-9]+\.lock|scratch/[0-9]+/w|logs|logs/[a-z0-9-]+\.log)$`)

// strange lists what a cache at rest may not hold: names that the layout has not, what belongs to no root, and folders
// that should be empty.
func strange(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		if !layout.MatchString(name) {
			out = append(out, name)
		}
		top, base := filepath.Split(name)
		root, isRoot := strings.CutPrefix(strings.TrimSuffix(base, ".u2147418112"), "root-")
		root, _, _ = strings.Cut(root, ".mtree")
		if top == "roots/" || top == "use/" || top == "locks/" && isRoot {
			for _, part := range []string{root, root + ".mtree*"} {
				if there, _ := filepath.Glob(filepath.Join(dir, "roots", part)); len(there) == 0 {
					out = append(out, name+" of no whole root")
				}
			}
		}
		if d.IsDir() && (top == "roots/" || top == "layers/") {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return out
}
