package archive

import (
	"bytes"
	"errors"
	"log/slog"
	"strconv"
	"strings"
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
		Client: &fetch.Client{Attempts: 2, Stall: time.Second, Backoff: time.Millisecond},
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

// must opens the world as it is without faults.
func must(t *testing.T, w *world) *Archive {
	w.srv.Handler.Reset()
	return w.open(t)
}
