package debootstrap

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestKeysOfArchives asks real archives, each time with an empty cache: what an archive says otherwise without other
// packages leaves both keys, a package that is not selected changes K1 alone.
func TestKeysOfArchives(t *testing.T) {
	const same, changed = true, false
	for _, tt := range []struct {
		summary string
		change  func(*testing.T, *keyWorld)
		k1, k2  bool // the same?
	}{
		{"nothing", func(*testing.T, *keyWorld) {}, same, same},
		{"signed again, later", func(_ *testing.T, w *keyWorld) {
			w.archive.SignedAt = w.archive.Date.Add(time.Hour)
		}, same, same},
		{"dated later, valid for a time", func(_ *testing.T, w *keyWorld) {
			w.archive.Date = w.archive.Date.Add(48 * time.Hour)
			w.archive.ValidUntil = time.Now().Add(1000 * time.Hour)
		}, same, same},
		{"signed by two keys", func(_ *testing.T, w *keyWorld) {
			w.archive.Signers = []*testarchive.Key{w.archive.Key, testarchive.NewKey("another")}
		}, same, same},
		{"Release and Release.gpg", func(_ *testing.T, w *keyWorld) { w.archive.NoInline = true }, same, same},
		{"other words in Release", func(_ *testing.T, w *keyWorld) {
			w.archive.Release = map[string]string{"Description": "another", "Version": "18.04.9"}
		}, same, same},
		{"gz alone", func(_ *testing.T, w *keyWorld) { w.archive.Compress = []string{"gz"} }, same, same},
		{"xz alone", func(_ *testing.T, w *keyWorld) { w.archive.Compress = []string{"xz"} }, same, same},
		{"no uncompressed index", func(_ *testing.T, w *keyWorld) { w.archive.NoPlain = true }, same, same},
		{"by hash", func(_ *testing.T, w *keyWorld) { w.archive.ByHash = true }, same, same},
		{"another mirror", func(t *testing.T, w *keyWorld) {
			w.req.Mirrors = []Mirror{{URL: w.archive.Serve(t).URL + "/", From: "--mirror"}}
		}, same, same},
		{"unverified", func(_ *testing.T, w *keyWorld) {
			w.archive.Signers, w.req.NoVerify = []*testarchive.Key{}, true
		}, same, same},
		{"unrelated package newer", func(t *testing.T, w *keyWorld) { w.upgrade(t, "9", "hello") }, changed, same},
		{"unrelated package added", func(_ *testing.T, w *keyWorld) {
			w.archive.Add(testarchive.Package{Name: "zebra", Arch: w.req.Arch, Fields: map[string]string{"Priority": "optional"}})
		}, changed, same},
		{"unrelated package gone", func(_ *testing.T, w *keyWorld) { w.archive.Remove("hello") }, changed, same},
		{"package newer", func(t *testing.T, w *keyWorld) { w.upgrade(t, "9", "apt") }, changed, changed},
		{"package with other bytes", func(_ *testing.T, w *keyWorld) {
			packages := w.archive.Packages()
			for _, p := range packages {
				w.archive.Remove(p.Name)
			}
			for _, p := range packages {
				if p.Name == "apt" {
					p.Compression = "xz"
				}
				w.archive.Add(p)
			}
		}, changed, changed},
		{"include", func(_ *testing.T, w *keyWorld) { w.req.Include = []string{"hello"} }, changed, changed},
		{"include of what is selected anyway", func(_ *testing.T, w *keyWorld) { w.req.Include = []string{"apt"} }, changed, changed},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			w := newSmallWorld(t)
			before := w.keys(t)
			if tt.change(t, w); tt.summary != "another mirror" {
				w.server.Set(w.archive)
			}
			after := w.keys(t)
			if (before.Resolve.Key == after.Resolve.Key) != tt.k1 || (before.Root.Key == after.Root.Key) != tt.k2 {
				t.Errorf("K1 %s then %s, want the same: %v\nK2 %s then %s, want the same: %v", before.Resolve.Key.Short(),
					after.Resolve.Key.Short(), tt.k1, before.Root.Key.Short(), after.Root.Key.Short(), tt.k2)
			}
		})
	}
}

// keys asks with an empty cache, and compares with what a second question gives and with what is recorded.
func (w *keyWorld) keys(t *testing.T) *Keys {
	t.Helper()
	w.newStore(t)
	keys, err := w.Keys(t.Context(), w.req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.Keys(t.Context(), w.req)
	if err != nil || again.Resolve.Key != keys.Resolve.Key || again.Root.Key != keys.Root.Key {
		t.Errorf("asked again: %v", err)
	}
	if text, err := w.Store.LoadInputs(keys.Resolve.Key); err != nil || cache.Sum(text) != keys.Resolve.Key {
		t.Errorf("inputs of K1: %v", err)
	}
	return keys
}

// TestInputsRecorded: after a build each of the three keys has its text in inputs/, and the records name one another.
func TestInputsRecorded(t *testing.T) {
	w := newKeyWorld(t)
	res := w.build(t)
	keys, err := w.Keys(t.Context(), w.req)
	if err != nil {
		t.Fatal(err)
	}
	if res.Key != keys.Root.Key {
		t.Errorf("built under %s, asked for %s", res.Key, keys.Root.Key)
	}
	w.req.Offline = true
	offline, err := w.Keys(t.Context(), w.req)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2]Key{"request": {keys.Request, offline.Request}, "resolve": {keys.Resolve, offline.Resolve}, "root": {keys.Root, offline.Root}} {
		file, err := os.ReadFile(filepath.Join(w.Store.Dir(), "inputs", string(pair[0].Key)+".json"))
		if err != nil || string(file) != string(pair[0].Input) || pair[0].Key != cache.Sum(file) {
			t.Errorf("%s: inputs: %v", name, err)
		}
		if pair[0].Key != pair[1].Key || string(pair[0].Input) != string(pair[1].Input) {
			t.Errorf("%s: from records %s, from the archive %s", name, pair[1].Key.Short(), pair[0].Key.Short())
		}
	}
}
