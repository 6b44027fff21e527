package archive

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// writeMirror puts the files of the archive into a folder and returns its file URL.
func (w *world) writeMirror(t *testing.T) (dir, base string) {
	t.Helper()
	dir = t.TempDir()
	for p, b := range w.Files() {
		name := filepath.Join(dir, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir, (&url.URL{Scheme: "file", Path: dir}).String()
}

// A mirror that promises by-hash and does not serve it: the plain path has the same index.
func TestByHashMissing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	w.Overlay = map[string][]byte{}
	for p := range w.Files() {
		if strings.Contains(p, "/by-hash/") {
			w.Overlay[p] = nil
		}
	}
	w.srv.Set(w.Archive)
	a := w.open(t)
	if !a.Pockets[0].Release.ByHash || index(t, a) == "" {
		t.Error("no index")
	}
	if hash, plain := w.srv.Count("dists/bionic/main/binary-amd64/by-hash/SHA256/*"), w.srv.Count("Packages*"); hash == 0 || plain == 0 {
		t.Errorf("asked %d times by hash, %d times by name", hash, plain)
	}
}

// A company's mirror signs anew, by a key of its own, with a detached signature alone.
func TestSignedAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	own := testarchive.NewKey("company")
	w.Signers, w.NoInline, w.ByHash = []*testarchive.Key{own}, true, false
	w.srv.Set(w.Archive)
	var u *pgp.Untrusted
	if _, err := Open(t.Context(), w.o); !errors.As(err, &u) {
		t.Fatalf("with the suite's keys: %v", err)
	}
	w.trust(own)
	a := w.open(t)
	if s := a.Pockets[0].Release.Signatures; len(s) != 1 || s[0].Signer == "" {
		t.Errorf("signatures %+v", s)
	}
	if err := a.Fetch(t.Context(), "release", pool(t, index(t, a), "hello")); err != nil {
		t.Error(err)
	}
}

// A pocket that no mirror has is an error that names what was asked for.
func TestMissingPocket(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	_, base := w.writeMirror(t)
	w.o.Pockets = []string{"release", "updates"}
	for _, mirror := range []string{w.srv.URL, base} {
		w.o.PocketMirrors = map[string][]string{"updates": {mirror}}
		_, err := Open(t.Context(), w.o)
		want := fmt.Sprintf("get %s/dists/bionic-updates/Release: ", mirror)
		var none *NoMirror
		if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), want) || !errors.As(err, &none) || !strings.Contains(none.Hint(), "--pocket") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// Symbolic links inside a mirror on disk are ordinary; pipes, endless files and what the archive's own
// names would reach outside are not read.
func TestFileMirrorBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	dir, base := w.writeMirror(t)
	w.o.Mirrors = []string{base}
	f := pool(t, index(t, w.open(t)), "hello")
	name := filepath.Join(dir, f.Path)
	elsewhere := filepath.Join(t.TempDir(), "moved.deb")
	step := func(err ...error) {
		t.Helper()
		if err := errors.Join(err...); err != nil {
			t.Fatal(err)
		}
	}
	fails := func(summary string, f File, want error) {
		t.Helper()
		if err := w.open(t).Fetch(t.Context(), "release", f); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", summary, err)
		}
	}
	step(os.Rename(name, elsewhere), unix.Mkfifo(name, 0o600))
	fails("a pipe", f, nil)
	step(os.Remove(name), os.Symlink("/dev/zero", name))
	fails("a device", f, nil)
	step(os.Remove(name))
	fails("missing", f, fetch.ErrNotFound)
	step(os.WriteFile(name, make([]byte, f.Size+1), 0o600))
	fails("too long", f, fetch.ErrSize)
	step(os.WriteFile(name, make([]byte, f.Size), 0o600))
	var stale *Stale
	if err := w.open(t).Fetch(t.Context(), "release", f); !errors.As(err, &stale) {
		t.Errorf("other bytes: %v", err)
	}
	outside := f
	if outside.Path, _ = filepath.Rel(dir, elsewhere); !strings.HasPrefix(outside.Path, "../") {
		t.Fatal(outside.Path)
	}
	fails("outside by its name", outside, nil)
	step(os.Remove(name), os.Symlink(elsewhere, name))
	if err := w.open(t).Fetch(t.Context(), "release", f); err != nil {
		t.Errorf("a symbolic link: %v", err)
	}
}
