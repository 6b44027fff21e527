package archive

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

func TestRead(t *testing.T) {
	t.Parallel()
	for _, inline := range []bool{true, false} {
		for _, byHash := range []bool{true, false} {
			for _, form := range []string{"gz", "xz", ""} {
				t.Run(fmt.Sprintf("inline %v, by hash %v, form %q", inline, byHash, form), func(t *testing.T) {
					a := hello()
					a.NoInline, a.ByHash, a.Compress = !inline, byHash, []string{}
					if form != "" {
						a.Compress, a.NoPlain = []string{form}, true
					}
					w := newWorld(t, a)
					ar := w.open(t)
					r := ar.Pockets[0].Release
					if r.Codename != "bionic" || len(r.Signatures) != 1 || r.Unverified || !r.Date.Equal(a.Date) || len(r.Exceptions) > 0 {
						t.Errorf("release %+v", r)
					}
					text := index(t, ar)
					if n := w.srv.Count("dists/bionic/main/binary-amd64/by-hash/SHA256/*"); (n == 1) != byHash || n > 1 {
						t.Errorf("asked %d times by hash", n)
					}
					for _, name := range []string{"hello", "world"} {
						f := pool(t, text, name)
						for range 2 {
							if err := ar.Fetch(t.Context(), "release", f); err != nil {
								t.Fatal(err)
							}
						}
						if n := w.srv.Count(filepath.Base(f.Path)); n != 1 {
							t.Errorf("%s was fetched %d times", f.Path, n)
						}
						if err := w.o.Store.VerifyDownload(t.Context(), f.SHA256); err != nil {
							t.Error(err)
						}
					}
					w.srv.Reset()
					if index(t, w.open(t)) != text {
						t.Error("another index")
					}
					for _, q := range w.srv.Requests() {
						if !strings.Contains(q.Path, "Release") {
							t.Errorf("fetched %s again", q.Path)
						}
					}
				})
			}
		}
	}
}

func TestConditional(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	first := w.open(t)
	w.srv.Reset()
	second := w.open(t)
	q := w.srv.Requests()
	if len(q) != 1 || q[0].Status != http.StatusNotModified {
		t.Errorf("requests %+v", q)
	}
	if first.Pockets[0].Release.Digest != second.Pockets[0].Release.Digest || len(second.Pockets[0].Release.Signatures) != 1 {
		t.Error("another Release")
	}
	// What is held is verified again, with the keys of today.
	w.trust(testarchive.NewKey("other"))
	var u *pgp.Untrusted
	if _, err := Open(t.Context(), w.o); !errors.As(err, &u) {
		t.Errorf("with other keys: %v", err)
	}
	w.trust(w.Key)
	// A record that is damaged, or of another shape, is no obstacle.
	for _, b := range []string{"", "x", "{}\n", `{"schema":1,"suite":"bionic","lengths":[9,9,9]}` + "\nabc"} {
		if err := w.o.Store.StoreRelease("bionic", []byte(b), nil); err != nil {
			t.Fatal(err)
		}
		w.open(t)
	}
}

func TestOffline(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	w.srv.Fault(testarchive.Fault{Path: "*Release*", Status: 503})
	_, err := Open(t.Context(), w.o)
	var off *Offline
	if !errors.Is(err, ErrOffline) || !errors.As(err, &off) || !off.Date.IsZero() {
		t.Fatalf("never seen: %v", err)
	}
	w.srv.Reset()
	w.open(t)
	w.srv.Fault(testarchive.Fault{Path: "*Release*", Status: 503})
	if _, err = Open(t.Context(), w.o); !errors.As(err, &off) || !off.Date.Equal(w.Date) || !off.Checked.Equal(w.Date.Add(time.Hour)) {
		t.Errorf("seen before: %v, %+v", err, off)
	}
}

// TestParallel fetches all files many times at once.
func TestParallel(t *testing.T) {
	t.Parallel()
	a := hello()
	for i := range 20 {
		a.Add(testarchive.Package{Name: fmt.Sprintf("p%d", i)})
	}
	w := newWorld(t, a)
	ar := w.open(t)
	text := index(t, ar)
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			if err := ar.Fetch(t.Context(), "release", pool(t, text, fmt.Sprintf("p%d", i%20))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := w.srv.Count("*.deb"); n != 20 {
		t.Errorf("%d downloads of 20 files", n)
	}
}

func TestFileMirror(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	dir := filepath.Join(t.TempDir(), "a mirror+x")
	for p, b := range w.Files() {
		name := filepath.Join(dir, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	w.o.Mirrors = []string{(&url.URL{Scheme: "file", Path: dir}).String()}
	a := w.open(t)
	if err := a.Fetch(t.Context(), "release", pool(t, index(t, a), "hello")); err != nil {
		t.Fatal(err)
	}
}

func TestPockets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	up := hello()
	up.Suite, up.Key = "bionic-updates", w.Key
	up.Codename = "bionic"
	both := w.Files()
	for p, b := range up.Files() {
		both[p] = b
	}
	w.srv.SetFiles(both, w.Date)
	w.o.Pockets = []string{"release", "updates"}
	a := w.open(t)
	if len(a.Pockets) != 2 || a.Pockets[1].Suite != "bionic-updates" || a.Pockets[1].Release.Suite != "bionic-updates" {
		t.Errorf("%+v", a.Pockets)
	}
	if _, err := a.Packages(t.Context(), a.Pockets[1], "main"); err != nil {
		t.Error(err)
	}
	if _, err := a.Packages(t.Context(), a.Pockets[1], "universe"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "main") {
		t.Errorf("no such component: %v", err)
	}
	w.o.Pockets = []string{"backports"}
	if _, err := Open(t.Context(), w.o); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such pocket: %v", err)
	}
}
