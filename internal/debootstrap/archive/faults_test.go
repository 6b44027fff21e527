package archive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestIndexFaults has a Packages file that is not what Release says.
func TestIndexFaults(t *testing.T) {
	for _, c := range []struct {
		summary string
		fault   testarchive.Fault
		works   bool
	}{
		{"wrong content by hash", testarchive.Fault{Path: "[0-9a-f]*", Corrupt: true}, false},
		{"wrong size", testarchive.Fault{Path: "[0-9a-f]*", Body: []byte("short")}, false},
		{"endless", testarchive.Fault{Path: "[0-9a-f]*", Endless: true}, false},
		{"no by-hash", testarchive.Fault{Path: "[0-9a-f]*", Status: 404}, true},
		{"cut once", testarchive.Fault{Path: "[0-9a-f]*", Truncate: 40, Times: 1}, true},
		{"stalls once", testarchive.Fault{Path: "[0-9a-f]*", Stall: -1, StallAfter: 40, Times: 1}, true},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			w.srv.Fault(c.fault)
			a := w.open(t)
			text, err := a.Packages(t.Context(), a.Pockets[0], "main")
			if c.works {
				if err != nil {
					t.Fatal(err)
				}
				pool(t, text, "hello")
				return
			}
			var stale *Stale
			if !errors.As(err, &stale) || stale.Pocket != "release" || stale.Mirror != w.srv.URL {
				t.Fatalf("%v", err)
			}
			if text != "" {
				t.Error("text beside the error")
			}
			if err := a.NextMirror(t.Context()); err == nil {
				t.Error("there is no next mirror")
			}
		})
	}
}

// TestContradiction has a Release that is signed but whose sums of the compressed and the plain form
// do not belong together.
func TestContradiction(t *testing.T) {
	for _, c := range []struct{ summary, size, sum string }{
		{"digest", "", strings.Repeat("0", 64)},
		{"longer", "1000000", ""},
		{"shorter", "7", ""},
		{"huge", "999999999999", ""},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			files := w.Files()
			var sums strings.Builder
			r, err := parseRelease(files["dists/bionic/Release"])
			if err != nil {
				t.Fatal(err)
			}
			for p, f := range r.Files {
				size, sum := strconv.FormatInt(f.Size, 10), string(f.SHA256)
				if filepath.Base(p) == "Packages" {
					if c.size != "" {
						size = c.size
					}
					if c.sum != "" {
						sum = c.sum
					}
				}
				fmt.Fprintf(&sums, "\n %s %s %s", sum, size, p)
			}
			w.Release = map[string]string{"SHA256": sums.String()}
			w.srv.Set(w.Archive)
			a := w.open(t)
			if text, err := a.Packages(t.Context(), a.Pockets[0], "main"); err == nil || text != "" {
				t.Errorf("accepted %d bytes", len(text))
			}
		})
	}
}

func TestDamagedDownload(t *testing.T) {
	w := newWorld(t, hello())
	a := w.open(t)
	text := index(t, a)
	files, err := filepath.Glob(filepath.Join(w.o.Store.Dir(), "dl/sha256/*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.Chmod(files[0], 0o600), os.WriteFile(files[0], b, 0o600)); err != nil {
		t.Fatal(err)
	}
	if index(t, a) != text {
		t.Error("another text")
	}
}

// TestMidUpdate changes the archive between reading its Release and the rest.
func TestMidUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	w.ByHash = false
	w.srv.Set(w.Archive)
	a := w.open(t)
	next := w.Archive.Remove("world").Add(testarchive.Package{Name: "world", Version: "3"})
	next.Date = next.Date.Add(time.Minute)
	w.srv.Set(next)
	_, err := a.Packages(t.Context(), a.Pockets[0], "main")
	var stale *Stale
	if !errors.As(err, &stale) {
		t.Fatalf("%v", err)
	}
	if changed, err := a.Refresh(t.Context()); err != nil || !changed {
		t.Fatalf("refresh: %v, %v", changed, err)
	}
	f := pool(t, index(t, a), "world")
	if !strings.Contains(f.Path, "_3_") {
		t.Errorf("path %s", f.Path)
	}
	if changed, err := a.Refresh(t.Context()); err != nil || changed {
		t.Errorf("refresh again: %v, %v", changed, err)
	}
}

// TestPoolFaults goes to the next mirror for what does not come, and reports what is wrong.
func TestPoolFaults(t *testing.T) {
	for _, c := range []struct {
		summary      string
		fault        testarchive.Fault
		stale, moves bool
	}{
		{"404", testarchive.Fault{Path: "*.deb", Status: 404}, true, false},
		{"wrong content", testarchive.Fault{Path: "*.deb", Corrupt: true}, true, false},
		{"wrong size", testarchive.Fault{Path: "*.deb", Body: []byte("x")}, true, false},
		{"endless", testarchive.Fault{Path: "*.deb", Endless: true}, true, false},
		{"stalls", testarchive.Fault{Path: "*.deb", Stall: -1}, false, true},
		{"503", testarchive.Fault{Path: "*.deb", Status: 503}, false, true},
		{"403", testarchive.Fault{Path: "*.deb", Status: 403}, false, true},
		{"cut, then resumed", testarchive.Fault{Path: "*.deb", Truncate: 100, Times: 1}, false, false},
		{"cut, Range ignored", testarchive.Fault{Path: "*.deb", Truncate: 100, Times: 1}, false, false},
		{"cut, then another range", testarchive.Fault{Path: "*.deb", Truncate: 100, Times: 1}, false, false},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			w.srv.Fault(c.fault)
			switch c.summary {
			case "cut, Range ignored":
				w.srv.Fault(testarchive.Fault{Path: "*.deb", NoRange: true})
			case "cut, then another range":
				w.srv.Fault(testarchive.Fault{Path: "*.deb", WrongRange: true, Times: 1})
			}
			other := w.Archive.Serve(t)
			w.o.Mirrors = []string{w.srv.URL, other.URL}
			a := w.open(t)
			f := pool(t, index(t, a), "hello")
			err := a.Fetch(t.Context(), "release", f)
			var stale *Stale
			if errors.As(err, &stale) != c.stale || !c.stale && err != nil {
				t.Fatalf("%v", err)
			}
			if (other.Count("*.deb") > 0) != c.moves {
				t.Errorf("the other mirror was asked: %v", !c.moves)
			}
			if c.moves {
				w.srv.Handler.Reset()
				if err := a.Fetch(t.Context(), "release", pool(t, index(t, a), "world")); err != nil || w.srv.Count("*.deb") > 0 {
					t.Errorf("a mirror that failed was asked again: %v", err)
				}
			}
			if c.stale {
				if w.o.Store.HasDownload(f.SHA256, f.Size) {
					t.Error("kept what is wrong")
				}
				if changed, err := a.Refresh(t.Context()); err != nil || changed {
					t.Fatalf("refresh: %v, %v", changed, err)
				}
				if err := a.NextMirror(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := a.Fetch(t.Context(), "release", f); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, f := range []File{
		{"../x", 1, cache.Sum(nil), ""}, {"/x", 1, cache.Sum(nil), ""}, {"a/../b", 1, cache.Sum(nil), ""}, {"a\nb", 1, cache.Sum(nil), ""},
		{"a//b", 1, cache.Sum(nil), ""}, {"", 1, cache.Sum(nil), ""}, {"a", 0, cache.Sum(nil), ""}, {"a", 1 << 40, cache.Sum(nil), ""}, {"a", 1, "abc", ""},
	} {
		w := newWorld(t, hello())
		a := w.open(t)
		w.srv.Reset()
		if err := a.Fetch(t.Context(), "release", f); err == nil || len(w.srv.Requests()) > 0 {
			t.Errorf("%q: %v", f.Path, err)
		}
	}
}

// TestRefreshMoves has a mirror that gives up between Open and Refresh.
func TestRefreshMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	other := w.Archive.Serve(t)
	w.o.Mirrors = []string{w.srv.URL, other.URL}
	a := w.open(t)
	w.srv.Fault(testarchive.Fault{Path: "*Release*", Status: 404})
	changed, err := a.Refresh(t.Context())
	if err != nil || !changed || a.Pockets[0].Mirror != other.URL {
		t.Errorf("%v, %v, mirror %s", changed, err, a.Pockets[0].Mirror)
	}
	other.Fault(testarchive.Fault{Path: "*Release*", Status: 404})
	if _, err := a.Refresh(t.Context()); !errors.Is(err, fetch.ErrNotFound) {
		t.Errorf("none left: %v", err)
	}
}
