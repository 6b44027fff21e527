package cache

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// made is a root as a build leaves it: sealed, with a record that names its download, and inputs.
func made(t *testing.T, s *Store, name string, downloads ...string) Digest {
	t.Helper()
	ctx := context.Background()
	l, err := build(ctx, s, name)
	must(t, err)
	defer l.Close()
	rec := struct {
		Kind string   `json:"kind"`
		Root Digest   `json:"root"`
		Lock []Digest `json:"lock"`
	}{Kind: "root", Root: l.Root}
	for _, d := range downloads {
		rec.Lock = append(rec.Lock, fetched(t, s, d))
	}
	input := []byte(`{"root":"` + name + `"}`)
	must(t, s.StoreInputs(Sum(input), input))
	must(t, s.StoreAction(Sum(input), rec))
	os.Remove(s.path("actions", string(Sum([]byte(name))))) // build's own
	return l.Root
}

func fetched(t *testing.T, s *Store, content string) Digest {
	t.Helper()
	d := Sum([]byte(content))
	must(t, s.Ensure(context.Background(), d, int64(len(content)), func(_ context.Context, p *Part) error {
		_, err := p.Write([]byte(content))
		return err
	}))
	return d
}

func unused(t *testing.T, s *Store, d Digest, age time.Duration) {
	t.Helper()
	at := time.Now().Add(-age)
	must(t, os.Chtimes(s.path("use", string(d)), at, at))
}

// collect makes a collection after its dry run and checks that the two say the same.
func collect(t *testing.T, s *Store, o CollectOptions) *Collected {
	t.Helper()
	o.DryRun = true
	before := everything(t, s)
	dry, err := s.Collect(context.Background(), o)
	must(t, err)
	if after := everything(t, s); !reflect.DeepEqual(before, after) {
		t.Errorf("a dry run changed the cache:\n%v\n%v", before, after)
	}
	o.DryRun = false
	got, err := s.Collect(context.Background(), o)
	must(t, err)
	if !reflect.DeepEqual(dry, got) {
		t.Errorf("dry run and collection differ:\n%+v\n%+v", dry, got)
	}
	return got
}

// everything lists the cache's folders but locks/, where a dry run may leave an empty file.
func everything(t *testing.T, s *Store) []string {
	t.Helper()
	var out []string
	for _, f := range append(folders[:], "layers", "logs", "scratch") {
		if f == "locks" {
			continue
		}
		names, err := s.listDir(f)
		must(t, err)
		for _, n := range names {
			out = append(out, f+"/"+n)
		}
	}
	return out
}

func kinds(c *Collected) string {
	var out []string
	for _, i := range c.Removed {
		out = append(out, i.Kind)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestCollectByAge(t *testing.T) {
	s := open(t)
	day := 24 * time.Hour
	old, named, young := made(t, s, "old", "shared", "old's"), made(t, s, "named", "named's"), made(t, s, "young", "shared")
	must(t, s.SetRef(Ref{Name: "bionic", Root: named}, nil))
	unused(t, s, old, 61*day)
	unused(t, s, named, 900*day)
	unused(t, s, young, 59*day)
	fetched(t, s, "nobody's")
	got := collect(t, s, CollectOptions{MaxAge: 60 * day})
	if k := kinds(got); k != "download download root" || got.Skipped != "" {
		t.Errorf("removed %s: %+v", k, got)
	}
	if s.hasRoot(old) || !s.hasRoot(named) || !s.hasRoot(young) {
		t.Error("the wrong roots are there")
	}
	for name, want := range map[string]bool{"shared": true, "old's": false, "named's": true, "nobody's": false} {
		if s.HasDownload(Sum([]byte(name)), int64(len(name))) != want {
			t.Errorf("download %s: want %t", name, want)
		}
	}
	if again := collect(t, s, CollectOptions{MaxAge: 60 * day}); len(again.Removed) != 0 || again.Bytes != got.Bytes {
		t.Errorf("again: %+v, before it %d bytes", again, got.Bytes)
	}
	if l := litter(t, s); len(l) != 0 {
		t.Errorf("left: %v", l)
	}
}

func TestCollectBySize(t *testing.T) {
	s := open(t)
	var roots []Digest
	for i := range 6 {
		d := made(t, s, fmt.Sprint(i), strings.Repeat(fmt.Sprint(i), 1<<20))
		unused(t, s, d, time.Duration(10-i)*time.Hour)
		roots = append(roots, d)
	}
	must(t, s.SetRef(Ref{Name: "oldest", Root: roots[0]}, nil))
	lease, err := s.Lease(context.Background(), roots[1])
	must(t, err)
	unused(t, s, roots[1], 9*time.Hour)
	u, err := s.Usage()
	must(t, err)
	got := collect(t, s, CollectOptions{MaxSize: u.Bytes - 2<<20 + 1000})
	for i, want := range []bool{true, true, false, false, true, true} {
		if s.hasRoot(roots[i]) != want {
			t.Errorf("root %d: want %t (%+v)", i, want, got)
		}
	}
	if len(got.InUse) != 1 || got.InUse[0].Name != string(roots[1]) {
		t.Errorf("in use: %+v", got.InUse)
	}
	if u, err = s.Usage(); err != nil || u.Bytes != got.Bytes {
		t.Errorf("df says %d bytes, the collection said %d (%v)", u.Bytes, got.Bytes, err)
	}
	lease.Close()
	if got = collect(t, s, CollectOptions{MaxSize: 1}); s.hasRoot(roots[5]) || !s.hasRoot(roots[0]) {
		t.Errorf("everything without a name should have gone: %+v", got)
	}
}

func TestCollectAll(t *testing.T) {
	s := open(t)
	one, two := made(t, s, "one", "a"), made(t, s, "two", "b")
	must(t, s.SetRef(Ref{Name: "one", Root: one}, nil))
	must(t, s.SetRef(Ref{Name: "two", Root: two}, nil))
	layer, err := s.Layer(map[string][]byte{"etc/x": nil})
	must(t, err)
	scratch, err := s.Scratch()
	must(t, err)
	must(t, os.Mkdir(scratch.Path+"/u", 0o700))
	lease, err := s.Lease(context.Background(), one)
	must(t, err)
	got := collect(t, s, CollectOptions{All: true})
	if !s.hasRoot(one) || s.hasRoot(two) || len(got.InUse) != 2 {
		t.Errorf("%+v", got)
	}
	if _, err := os.Lstat(layer.Path); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(scratch.Path + "/u"); err != nil {
		t.Error(err)
	}
	if refs, err := s.Refs(); err != nil || len(refs) != 1 || refs[0].Name != "one" {
		t.Errorf("names: %v %v", refs, err)
	}
	layer.Close()
	scratch.Close()
	lease.Close()
	collect(t, s, CollectOptions{All: true})
	if left := everything(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := s.Scratch(); err != nil {
		t.Error(err)
	}
}

// A clock that is ten years off takes nothing that is leased or named, and a stamp from the future is no reason to keep
// a root for ten years.
func TestCollectClock(t *testing.T) {
	years := 3652 * 24 * time.Hour
	for _, off := range []time.Duration{years, -years} {
		s := open(t)
		named, leased, other := made(t, s, "named"), made(t, s, "leased"), made(t, s, "other")
		must(t, s.SetRef(Ref{Name: "named", Root: named}, nil))
		lease, err := s.Lease(context.Background(), leased)
		must(t, err)
		s.now = func() time.Time { return time.Now().Add(off) }
		collect(t, s, CollectOptions{MaxAge: time.Hour})
		if !s.hasRoot(named) || !s.hasRoot(leased) || s.hasRoot(other) != (off < 0) {
			t.Errorf("%v: named %t, leased %t, other %t", off, s.hasRoot(named), s.hasRoot(leased), s.hasRoot(other))
		}
		lease.Close()
	}
	s := open(t)
	d := made(t, s, "used by a wrong clock")
	unused(t, s, d, -years)
	collect(t, s, CollectOptions{MaxAge: time.Hour})
	s.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	collect(t, s, CollectOptions{MaxAge: time.Hour})
	if s.hasRoot(d) {
		t.Error("a root used in ten years is kept for ten years")
	}
}

func TestCollectWaitsForBuilders(t *testing.T) {
	s := open(t)
	sl, err := s.LockStore(context.Background())
	must(t, err)
	d := fetched(t, s, "no record names it yet")
	old := made(t, s, "old")
	unused(t, s, old, time.Hour)
	got := collect(t, s, CollectOptions{MaxAge: time.Minute, Wait: 10 * time.Millisecond})
	if got.Skipped == "" || s.hasRoot(old) {
		t.Errorf("%+v", got)
	}
	if !s.HasDownload(d, 22) {
		t.Error("a builder's download was collected")
	}
	sl.Close()
	collect(t, s, CollectOptions{})
	if s.HasDownload(d, 22) {
		t.Error("a download that nobody names is there")
	}
}

func TestCollectBounded(t *testing.T) {
	s := open(t)
	for i := range keepLoose + 30 {
		input := fmt.Appendf(nil, `{"n":%d}`, i)
		must(t, os.WriteFile(s.path("inputs", string(Sum(input))+".json"), input, 0o600))
	}
	collect(t, s, CollectOptions{})
	if names, err := s.listDir("inputs"); err != nil || len(names) != keepLoose {
		t.Errorf("%d inputs, want %d (%v)", len(names), keepLoose, err)
	}
}

func TestDigestsIn(t *testing.T) {
	a, b := string(Sum([]byte("a"))), string(Sum([]byte("b")))
	text := a + " " + a + "\nsha256:" + b + "\n" + a + b + " x" + strings.ToUpper(a) + " " + a[1:]
	if got := digestsIn([]byte(text)); !slices.Equal(got, []Digest{Digest(a), Digest(b)}) {
		t.Errorf("%v", got)
	}
	for range 200 {
		text = "x" + text
		if got := digestsIn([]byte(text)); len(got) != 1 && len(got) != 2 || got[len(got)-1] != Digest(b) {
			t.Fatalf("%q: %v", text, got)
		}
	}
}

// Sweeps remove what a collection is moving to trash/ this moment.
func TestSweepBesideCollection(t *testing.T) {
	s := open(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if _, err := s.Sweep(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for i := range 100 {
		c := &collection{s: s, out: &Collected{}}
		for j := range 20 {
			path := s.path("logs-" + strconv.Itoa(i) + "-" + strconv.Itoa(j))
			must(t, os.WriteFile(path, nil, 0o600))
			must(t, c.away(Item{}, path))
		}
	}
	close(done)
	wg.Wait()
}
