package archive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

// world is an archive on loopback, a store, and the options to read one into the other.
type world struct {
	*testarchive.Archive
	srv *testarchive.Server
	o   Options
	log bytes.Buffer
}

func hello() *testarchive.Archive {
	return testarchive.New("bionic").Add(
		testarchive.Package{Name: "hello", Version: "1.0+really2~rc1", Files: []testarchive.File{{Name: "usr/bin/hello", Body: strings.Repeat("hi\n", 9999)}}},
		testarchive.Package{Name: "world", Version: "2"},
	)
}

func newWorld(t *testing.T, a *testarchive.Archive) *world {
	t.Helper()
	w := &world{Archive: a, srv: a.Serve(t)}
	keyring, err := pgp.ReadKeyring(a.Keyring())
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.Open(t.TempDir(), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.o.Client.CloseIdle() })
	w.o = Options{
		Suite: suites.Suite{
			Codename: "bionic", Family: "ubuntu", Components: []string{"main"},
			Mirrors: map[string][]string{"default": {w.srv.URL + "/"}},
			Pockets: []suites.Pocket{{Name: "updates", Suite: "bionic-updates"}},
		},
		Keyring: keyring, Arch: "amd64", Store: store,
		Now:    func() time.Time { return a.Date.Add(time.Hour) },
		Client: &fetch.Client{Stall: 250 * time.Millisecond, Backoff: time.Millisecond},
		Log:    slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return w
}

func (w *world) open(t *testing.T) *Archive {
	t.Helper()
	a, err := Open(t.Context(), w.o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pool returns the pool file of a package as the index states it.
func pool(t *testing.T, index, name string) File {
	t.Helper()
	for p, err := range control.Paragraphs(index) {
		if err != nil {
			t.Fatal(err)
		}
		if control.Field(p, "Package") == name {
			size, err := strconv.ParseInt(control.Field(p, "Size"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return File{Path: control.Field(p, "Filename"), Size: size, SHA256: cache.Digest(control.Field(p, "SHA256"))}
		}
	}
	t.Fatalf("no package %s", name)
	return File{}
}

func index(t *testing.T, a *Archive) string {
	t.Helper()
	text, err := a.Packages(t.Context(), a.Pockets[0], "main")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

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
					if n := w.srv.Count("*/by-hash/SHA256/*"); byHash && n == 0 && w.srv.Count("dists/bionic/main/binary-amd64/by-hash/SHA256/*") != 1 {
						t.Error("not asked for by hash")
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

// TestRefused has Releases that must not be used, by what is wrong with them.
func TestRefused(t *testing.T) {
	stranger := testarchive.NewKey("stranger")
	expired := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "expired", Expires: testarchive.Epoch.Add(time.Minute)})
	for _, c := range []struct {
		summary string
		change  func(w *world)
		is      error // nil: *pgp.Untrusted
		says    string
		hint    string
	}{
		{"nobody signed", func(w *world) { w.Signers = []*testarchive.Key{}; w.NoInline = true }, nil, "not signed", "--keyring"},
		{"stripped signature", func(w *world) { w.plainInRelease(nil) }, nil, "", "--keyring"},
		{"not even a message", func(w *world) { w.plainInRelease([]byte("<html>log in</html>")) }, nil, "", "--keyring"},
		{"empty", func(w *world) { w.plainInRelease([]byte{}) }, nil, "", "--keyring"},
		{"a stranger signed", func(w *world) { w.Signers = []*testarchive.Key{stranger} }, nil, stranger.ID(), "--keyring"},
		{"a stranger signed Release.gpg", func(w *world) { w.Signers = []*testarchive.Key{stranger}; w.NoInline = true }, nil, stranger.ID(), "--keyring"},
		{"text changed", func(w *world) { w.replaceInRelease("Origin: Test", "Origin: Tesu") }, nil, "", "--keyring"},
		{"text added before", func(w *world) { w.replaceInRelease("-----BEGIN PGP SIGNED", "Codename: evil\n-----BEGIN PGP SIGNED") }, nil, "", "--keyring"},
		{"key expired", func(w *world) {
			w.Signers, w.SignedAt = []*testarchive.Key{expired}, testarchive.Epoch
			w.trust(expired)
		}, nil, "expired", "--keyring"},
		{"another suite", func(w *world) { w.Archive.Suite, w.Codename = "focal", "focal"; w.serveAs("focal", "bionic") }, ErrNotTrusted, `"focal"`, "another --mirror"},
		{"a pocket for its suite", func(w *world) {
			w.Archive.Suite = "bionic-updates"
			w.serveAs("bionic-updates", "bionic")
		}, ErrNotTrusted, `"bionic-updates"`, "another --mirror"},
		{"expired", func(w *world) { w.ValidUntil = w.Date.Add(time.Minute) }, ErrNotTrusted, "valid until 2024-01-02", "--allow-expired"},
		{"from the future", func(w *world) {
			date := w.Date
			w.o.Now = func() time.Time { return date.Add(-time.Hour) }
			w.SignedAt = date.Add(-2 * time.Hour)
		}, ErrNotTrusted, "is dated", "clock"},
		{"no sums", func(w *world) { w.Release = map[string]string{"SHA256": ""} }, errAny, "no SHA256", "another --mirror"},
		{"only weak sums", func(w *world) {
			w.Release = map[string]string{"SHA256": "", "MD5Sum": "\n " + strings.Repeat("0", 32) + " 1 x"}
		}, errAny, "no SHA256", "another --mirror"},
		{"no date", func(w *world) { w.Release = map[string]string{"Date": ""} }, errAny, "no Date", "another --mirror"},
		{"path out", func(w *world) {
			w.Release = map[string]string{"SHA256": "\n " + strings.Repeat("0", 64) + " 1 ../../x"}
		}, errAny, "bad path", "another --mirror"},
		{"nothing there", func(w *world) { w.NoInline, w.NoDetached = true, true }, ErrNotFound, "no such suite", "another --mirror"},
		{"endless", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Endless: true}) }, fetch.ErrSize, "", "another --mirror"},
		{"denied", func(w *world) { w.srv.Handler.User = "u" }, fetch.ErrDenied, "401", "USER:PASSWORD"},
		{"silent", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Stall: -1}) }, ErrOffline, "stalled", "network"},
		{"cut", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Truncate: 100}) }, ErrOffline, "EOF", "network"},
		{"broken", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Status: 500}) }, ErrOffline, "500", "network"},
		{"closed", func(w *world) { w.o.Mirrors = []string{"http://127.0.0.1:1/ubuntu"} }, ErrOffline, "refused", "network"},
		{"one has it not, one is closed", func(w *world) {
			w.o.Mirrors = []string{w.srv.URL + "/elsewhere", "http://127.0.0.1:1/ubuntu"}
		}, ErrOffline, "no such suite", "network"},
		{"not a mirror", func(w *world) { w.o.Mirrors = []string{"ftp://127.0.0.1/ubuntu"} }, errAny, "http, https", "another --mirror"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			c.change(w)
			if w.Overlay == nil {
				w.srv.Set(w.Archive)
			} else {
				w.srv.SetFiles(w.Files(), w.Date)
			}
			_, err := Open(t.Context(), w.o)
			if err == nil {
				t.Fatal("accepted")
			}
			var u *pgp.Untrusted
			if errors.As(err, &u) != (c.is == nil) {
				t.Errorf("untrusted is %v: %v", !(c.is == nil), err)
			}
			if c.is != nil && c.is != errAny && !errors.Is(err, c.is) {
				t.Errorf("not %v: %v", c.is, err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("does not say %q: %v", c.says, err)
			}
			var h interface{ Hint() string }
			if !errors.As(err, &h) || !strings.Contains(h.Hint(), c.hint) {
				t.Errorf("no hint %q: %v", c.hint, err)
			}
			if _, err := w.o.Store.LoadRelease("bionic"); err == nil {
				t.Error("recorded what was refused")
			}
			// With a good mirror behind it, the bad one does not matter.
			good := hello()
			good.Key = w.Key
			mirror := w.srv.URL
			if len(w.o.Mirrors) > 0 {
				mirror = w.o.Mirrors[0]
			}
			w.o.Mirrors = []string{mirror, good.Serve(t).URL}
			if c.summary == "key expired" || c.summary == "from the future" {
				return // so would the good one be
			}
			a, err := Open(t.Context(), w.o)
			if err != nil || a.Pockets[0].Mirror != w.o.Mirrors[1] {
				t.Errorf("with a good mirror: %v", err)
			}
		})
	}
}

var errAny = errors.New("any")

// plainInRelease serves a text, or Release, in the place of InRelease.
func (w *world) plainInRelease(text []byte) {
	if text == nil {
		text = w.Files()["dists/bionic/Release"]
	}
	w.Overlay = map[string][]byte{"dists/bionic/InRelease": text}
}

func (w *world) replaceInRelease(old, new string) {
	text := bytes.Replace(w.Files()["dists/bionic/InRelease"], []byte(old), []byte(new), 1)
	w.Overlay = map[string][]byte{"dists/bionic/InRelease": text}
}

// serveAs puts the files of one suite where another's are looked for.
func (w *world) serveAs(from, to string) {
	w.Overlay = map[string][]byte{}
	for p, b := range w.Files() {
		if rest, ok := strings.CutPrefix(p, "dists/"+from+"/"); ok {
			w.Overlay["dists/"+to+"/"+rest] = b
		}
	}
}

func (w *world) trust(keys ...*testarchive.Key) {
	var files [][]byte
	for _, k := range keys {
		files = append(files, k.Public())
	}
	k, err := pgp.ReadKeyring(files...)
	if err != nil {
		panic(err)
	}
	w.o.Keyring = k
}

// TestExcused accepts, and says so.
func TestExcused(t *testing.T) {
	expired := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "expired", Expires: testarchive.Epoch.Add(time.Minute)})
	for _, c := range []struct {
		summary string
		change  func(w *world)
		says    string
	}{
		{"a stranger beside", func(w *world) { w.Signers = []*testarchive.Key{testarchive.NewKey("stranger"), w.Key} }, ""},
		{"--allow-expired", func(w *world) { w.ValidUntil = w.Date.Add(time.Minute); w.o.AllowExpired = true }, "valid until"},
		{"archived, Valid-Until", func(w *world) { w.ValidUntil = w.Date.Add(time.Minute); w.o.Suite.Archived = true }, "valid until"},
		{"archived, key", func(w *world) {
			w.Signers, w.SignedAt = []*testarchive.Key{expired}, testarchive.Epoch
			w.trust(expired)
			w.o.Suite.Archived = true
		}, "expired since"},
		{"archived, one key lives", func(w *world) {
			w.Signers, w.SignedAt = []*testarchive.Key{expired, w.Key}, testarchive.Epoch
			w.trust(expired, w.Key)
			w.o.Suite.Archived = true
		}, ""},
		{"suite by codename", func(w *world) { w.Archive.Suite = "oldstable"; w.serveAs("oldstable", "bionic") }, ""},
		{"suite by name", func(w *world) { w.Codename = "eighteen" }, ""},
		{"still valid", func(w *world) { w.ValidUntil = w.Date.Add(2 * time.Hour) }, ""},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			c.change(w)
			w.srv.SetFiles(w.Files(), w.Date)
			r := w.open(t).Pockets[0].Release
			if got := strings.Join(r.Exceptions, "; "); !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
				t.Errorf("exceptions %q, want %q", got, c.says)
			}
			if r.Unverified || len(r.Signatures) == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestNoVerify(t *testing.T) {
	for _, inline := range []bool{true, false} {
		w := newWorld(t, hello())
		w.Signers = []*testarchive.Key{testarchive.NewKey("stranger")}
		if w.NoInline = !inline; !inline {
			w.Signers = []*testarchive.Key{}
		}
		w.srv.Set(w.Archive)
		w.o.NoVerify, w.o.Keyring = true, nil
		a := w.open(t)
		if r := a.Pockets[0].Release; !r.Unverified || len(r.Signatures) > 0 || r.Label != "Test" {
			t.Errorf("inline %v: %+v", inline, r)
		}
		pool(t, index(t, a), "world")
		if _, err := w.o.Store.LoadRelease("bionic"); err == nil {
			t.Error("an unverified Release was recorded")
		}
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	w.open(t)
	old := hello()
	old.Key, old.Date = w.Key, w.Date.Add(-time.Hour)
	w.srv.SetFiles(old.Files(), w.Date.Add(time.Hour)) // or else it is answered with "not modified"
	_, err := Open(t.Context(), w.o)
	var older *Older
	if !errors.As(err, &older) || !errors.Is(err, ErrNotTrusted) || !older.Seen.Equal(w.Date) || !strings.Contains(older.Hint(), "--allow-older") {
		t.Fatalf("an older Release: %v", err)
	}
	// The suite's other mirror has the newer one.
	next := w.Archive.Serve(t)
	w.o.Suite.Mirrors = map[string][]string{"default": {w.srv.URL, next.URL}}
	if a := w.open(t); a.Pockets[0].Mirror != next.URL {
		t.Errorf("mirror %s", a.Pockets[0].Mirror)
	}
	// Another mirror is another source: it may be a snapshot of long ago.
	snapshot := old.Serve(t)
	w.o.Mirrors = []string{snapshot.URL}
	w.open(t)
	w.o.Mirrors = nil
	w.o.Suite.Mirrors["default"] = []string{w.srv.URL}
	w.o.AllowOlder = true
	if r := w.open(t).Pockets[0].Release; len(r.Exceptions) != 1 || !strings.Contains(r.Exceptions[0], "older than") {
		t.Errorf("exceptions %q", r.Exceptions)
	}
	// A fresh install of the newer one works again.
	w.o.AllowOlder = false
	w.srv.SetFiles(w.Files(), w.Date.Add(2*time.Hour))
	w.open(t)
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
		if err := w.o.Store.StoreRelease("bionic", []byte(b)); err != nil {
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
			if !errors.As(err, &stale) || stale.Pocket != "release" || stale.Mirror != w.srv.URL+"/" {
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
		{"../x", 1, cache.Sum(nil)}, {"/x", 1, cache.Sum(nil)}, {"a/../b", 1, cache.Sum(nil)}, {"a\nb", 1, cache.Sum(nil)},
		{"a//b", 1, cache.Sum(nil)}, {"", 1, cache.Sum(nil)}, {"a", 0, cache.Sum(nil)}, {"a", 1 << 40, cache.Sum(nil)}, {"a", 1, "abc"},
	} {
		w := newWorld(t, hello())
		a := w.open(t)
		w.srv.Reset()
		if err := a.Fetch(t.Context(), "release", f); err == nil || len(w.srv.Requests()) > 0 {
			t.Errorf("%q: %v", f.Path, err)
		}
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

// TestSecrets uses a mirror with a password, lets all kinds of things go wrong, and looks for it in
// whatever is said or kept.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	w.srv.Handler.User, w.srv.Handler.Password = "anna", "s3cret"
	withPassword := strings.Replace(w.srv.URL, "http://", "http://anna:s3cret@", 1)
	w.o.Mirrors = []string{withPassword}
	a := w.open(t)
	var said strings.Builder
	say := func(v any) {
		if v == nil {
			t.Error("no error")
		}
		fmt.Fprintf(&said, "%v\n", v)
		var off *Offline
		if err, ok := v.(error); ok && errors.As(err, &off) {
			fmt.Fprintf(&said, "%+v\n", *off)
		}
	}
	f := pool(t, index(t, a), "hello")
	say(a.Pockets[0].Mirror)
	say(fmt.Sprintf("%+v", *a.Pockets[0].Release))
	for _, fault := range []testarchive.Fault{{Path: "*", Status: 500}, {Path: "*", Status: 404}, {Path: "*", Corrupt: true}, {Path: "*", Endless: true}, {Path: "*", Stall: -1}} {
		w.srv.Handler.Reset()
		w.srv.Fault(fault)
		if err := w.o.Store.StoreRelease(a.recordID(a.Pockets[0], withPassword), nil); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), w.o)
		say(err)
		say(a.Fetch(t.Context(), "release", f))
		_, err = a.Refresh(t.Context())
		say(err)
		a = must(t, w)
	}
	w.srv.Handler.Reset()
	w.srv.Handler.Password = "changed"
	_, err := Open(t.Context(), w.o)
	say(err)
	for _, bad := range []string{"ftp://anna:s3cret@h/", "http://anna:s3cret@h:x/", "http://anna:s3cret@h/?x", "http://anna:s3cret@[/"} {
		w.o.Mirrors = []string{bad}
		_, err := Open(t.Context(), w.o)
		say(err)
	}
	err = filepath.WalkDir(w.o.Store.Dir(), func(p string, d os.DirEntry, err error) error {
		said.WriteString(p)
		if err == nil && d.Type().IsRegular() {
			var f *os.File
			if f, err = os.Open(p); err == nil {
				defer f.Close()
				_, err = io.Copy(&said, f)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{said.String(), w.log.String()} {
		if text == "" || strings.Contains(text, "s3cret") || strings.Contains(text, "anna") {
			t.Errorf("says\n%s", text)
		}
	}
}

// must opens the world as it is without faults.
func must(t *testing.T, w *world) *Archive {
	w.srv.Handler.Reset()
	return w.open(t)
}
