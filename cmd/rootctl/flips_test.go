package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestFlips flips one bit, or cuts the end off, at random places of a cache's files, of each kind as often. After a
// verification nothing of the damage is there, and the same commands as before heal the rest. Where nobody has verified
// but a root's tree is whole, use alone must come to the same results.
//
// $ROOTCTL_SOAK_FLIPS is the number of places, $ROOTCTL_SOAK_SEED repeats them.
func TestFlips(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFlips(t)
	places := short("ROOTCTL_SOAK_FLIPS", 60)
	for round := 0; f.places < places && !t.Failed(); round++ {
		f.round(t, round%3 == 2)
	}
	t.Logf("seed %d: %d places: %v", f.seed, f.places, f.kinds)
	for _, k := range flipKinds {
		if f.kinds[k.name] == 0 && k.name != "listing" { // which few roots have none of
			t.Errorf("no file of kind %s was damaged", k.name)
		}
	}
}

// flipKinds are the kinds of files in a cache. The content of the idle ones is read by no program: stamps and locks
// count by their names and times, logs are for people.
var flipKinds = []struct {
	name string
	idle bool
	path *regexp.Regexp
}{
	{"VERSION", false, regexp.MustCompile(`^VERSION$`)},
	{"blobs", false, regexp.MustCompile(`^oci/blobs/`)},
	{"index.json", false, regexp.MustCompile(`^oci/index\.json$`)},
	{"oci-layout", false, regexp.MustCompile(`^oci/oci-layout$`)},
	{"dl", false, regexp.MustCompile(`^dl/`)},
	{"actions", false, regexp.MustCompile(`^actions/`)},
	{"inputs", false, regexp.MustCompile(`^inputs/`)},
	{"refs", false, regexp.MustCompile(`^refs/`)},
	{"releases", false, regexp.MustCompile(`^releases/`)},
	{"trees", false, regexp.MustCompile(`^roots/[0-9a-f]{64}/`)},
	{"shifted trees", false, regexp.MustCompile(`^roots/[0-9a-f]{64}\.u[0-9]+/`)},
	{"manifests", false, regexp.MustCompile(`^roots/[0-9a-f]{64}\.mtree(-[0-9a-f]{32})?$`)},
	{"layers", false, regexp.MustCompile(`^layers/`)},
	{"use", true, regexp.MustCompile(`^use/`)},
	{"locks", true, regexp.MustCompile(`^(locks|scratch)/`)},
	{"listing", true, regexp.MustCompile(`^listing$`)}, // derived: made anew where it is not whole
	{"logs", true, regexp.MustCompile(`^logs/`)},
}

type flips struct {
	*faulty
	seed   uint64
	r      *rand.Rand
	good   map[string][]byte // by path: what the files held before
	places int
	kinds  map[string]int
	deck   []int // what kinds come next: of each as often
	tar    cache.Digest
}

func newFlips(t *testing.T) *flips {
	archive := testarchive.HostArchive(t, "bionic").Add(testarchive.Package{Name: "bad", Scripts: map[string]string{"postinst": "#!/bin/sh\necho no; exit 1\n"}})
	server := archive.Serve(t)
	f := &flips{seed: uint64(time.Now().UnixNano()), kinds: map[string]int{}}
	if v := os.Getenv("ROOTCTL_SOAK_SEED"); v != "" {
		f.seed, _ = strconv.ParseUint(v, 10, 64)
	}
	f.r = rand.New(rand.NewPCG(f.seed, 0))
	f.faulty = &faulty{&real{&fixture{self: ownCopy(t), server: server}, filepath.Join(t.TempDir(), "cache")},
		[]string{"--mirror", server.URL, "--only-mirror", "--keyring", keyFile(t, archive.Key)}}
	f.use(t)
	f.good = f.read(t)
	f.tar = cache.Sum(f.export(t))
	return f
}

// read reads every file that has something in it.
func (f *flips) read(t *testing.T) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, f.dir+"/")] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (f *flips) export(t *testing.T) []byte {
	t.Helper()
	return []byte(f.must(t, "export", "-q", "one", "--format", "tar", "--compress", "none"))
}

// use does what makes every kind of file, and again what was damaged.
func (f *flips) use(t *testing.T) {
	t.Helper()
	f.must(t, f.build("one")...)
	f.must(t, f.build("two", "--include", "hello")...)
	f.must(t, "ls")
	if out := f.must(t, "run", "-q", "two", "sh", "-c", "hello; cat /etc/hostname"); out != "hello of a fixture archive\nrootctl\n" {
		t.Errorf("run: %q", out)
	}
	t.Setenv(shiftedEnv, "1") // a second tree, too
	if out := f.must(t, "run", "-q", "two", "sh", "-c", "hello; cat /etc/hostname"); out != "hello of a fixture archive\nrootctl\n" {
		t.Errorf("run on the shifted tree: %q", out)
	}
	os.Unsetenv(shiftedEnv)
	f.must(t, "export", "-q", "one", "--format", "oci", "-o", filepath.Join(t.TempDir(), "one.oci.tar"))
	if _, err := os.Stat(filepath.Join(f.dir, "logs")); err != nil {
		f.rootctl(t, f.build("bad", "--include", "bad")...)
	}
	f.must(t, append(append([]string{"lock", "-q", "-o", filepath.Join(t.TempDir(), "lock"), "--include", "bad"}, f.from...), "bionic")...)
}

func (f *flips) round(t *testing.T, onUse bool) {
	t.Helper()
	damaged := f.damage(t, onUse)
	if onUse {
		f.remove(t, "two") // what is built now reads the downloads
	} else {
		f.verify(t, damaged)
	}
	f.use(t)
	if got := cache.Sum(f.export(t)); got != f.tar {
		t.Errorf("after %v: the export's digest is %s, was %s", damaged, got.Short(), f.tar.Short())
	}
	f.must(t, append(append([]string{"cache", "why"}, f.from...), "bionic")...)
	out, errs, code := f.rootctl(t, "cache", "verify", "--roots")
	if code != 0 && onUse { // what use did not want is found now
		out, errs, code = f.rootctl(t, "cache", "verify", "--roots")
		f.use(t)
	}
	if code != 0 {
		t.Errorf("after %v: not healed\n%s%s", damaged, out, errs)
	}
	now := f.read(t)
	for _, path := range damaged {
		if b, ok := now[path]; !ok && !strings.HasPrefix(path, "dl/") && // fetched when a build wants it
			!strings.Contains(string(f.good[path]), `"kind":"witness"`) { // how a root was made: only another build has that to tell
			t.Errorf("after %v: %s is still missing", damaged, path)
		} else if ok && exact(path) && !bytes.Equal(b, f.good[path]) {
			t.Errorf("after %v: %s is not what it was", damaged, path)
		}
	}
	f.good = now
}

// remove takes a root out of the cache, if it is still known by its name.
func (f *flips) remove(t *testing.T, name string) {
	t.Helper()
	s, err := cache.Open(f.dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if ref, err := s.Ref(name); err == nil {
		if err := s.Remove(ref.Root); err != nil {
			t.Error(err)
		}
	}
}

// exact tells files that can only have one content from those that hold times.
func exact(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return slices.Contains([]string{"VERSION", "dl", "inputs", "roots", "layers"}, top) || strings.HasPrefix(path, "oci/blobs/")
}

// damage does harm to one file each of some kinds and returns their paths.
func (f *flips) damage(t *testing.T, onUse bool) []string {
	t.Helper()
	var out []string
	if len(f.deck) < 6 {
		f.deck = append(f.deck, f.r.Perm(len(flipKinds))...)
	}
	now := f.deck[:6]
	f.deck = f.deck[6:]
	for i, n := range now {
		k := flipKinds[n]
		if slices.Contains(now[:i], n) { // one harm may undo the other
			continue
		}
		if onUse && strings.HasSuffix(k.name, "trees") {
			f.deck = append(f.deck, n) // nobody reads all of a tree for one run
			continue
		}
		var files []string
		for path, b := range f.good {
			if k.path.MatchString(path) && (len(b) > 0 || k.idle) {
				files = append(files, path)
			}
		}
		if len(files) == 0 {
			continue
		}
		slices.Sort(files)
		path := files[f.r.IntN(len(files))]
		f.harm(t, filepath.Join(f.dir, path), f.good[path])
		f.places++
		f.kinds[k.name]++
		if !k.idle {
			out = append(out, path)
		}
	}
	return out
}

// harm flips a bit or cuts the file, and keeps its times and mode, as a disk would.
func (f *flips) harm(t *testing.T, path string, good []byte) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	switch {
	case len(bad) == 0:
		bad = []byte("x")
	case f.r.IntN(3) == 0:
		bad = bad[:f.r.IntN(len(bad))]
	default:
		bad[f.r.IntN(len(bad))] ^= 1 << f.r.IntN(8)
	}
	if string(bad) == "3\n" || string(bad) == "5\n" || string(bad) == "9\n" || string(bad) == "1" {
		bad = []byte("0\n") // a newer schema is refused, and "1" is as good: TestDamagedVersion
	}
	g, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.Write(bad); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
}

// verify has all damage found: each file is named, or it is whole or gone.
func (f *flips) verify(t *testing.T, damaged []string) {
	t.Helper()
	out, errs, code := f.rootctl(t, "cache", "verify", "--roots", "--json")
	var got cache.Verified
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Errorf("after %v: verify: exit code %d, %v\n%s%s", damaged, code, err, out, errs)
		return
	}
	if len(got.Bad) > 0 != (code == codeFailed) || len(got.Bad) > len(damaged) {
		t.Errorf("after %v: exit code %d with %+v", damaged, code, got.Bad)
	}
	for _, path := range damaged {
		b, err := os.ReadFile(filepath.Join(f.dir, path))
		if err == nil && !bytes.Equal(b, f.good[path]) && (exact(path) || !strings.HasPrefix(path, "oci/")) {
			t.Errorf("verify left the damage of %s; it found %+v", path, got.Bad)
		}
	}
}
