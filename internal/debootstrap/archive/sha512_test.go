package archive

import (
	"crypto/sha512"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
)

// TestOnlySHA512 reads an archive that states SHA-512 sums alone: what they lead to lands in the store under
// its SHA-256 and is fetched once.
func TestOnlySHA512(t *testing.T) {
	for _, byHash := range []bool{true, false} {
		w := newWorld(t, hello())
		w.Only512, w.ByHash = true, byHash
		w.srv.Set(w.Archive)
		a := w.open(t)
		text := index(t, a)
		requests := fmt.Sprint(w.srv.Requests())
		if strings.Contains(requests, "by-hash/SHA512/") != byHash || strings.Contains(requests, "SHA256") {
			t.Errorf("by-hash %v: %s", byHash, requests)
		}
		f := poolBySHA512(t, text, "hello")
		learned, err := a.Learn(t.Context(), "release", f)
		if err != nil || !w.o.Store.HasDownload(learned.SHA256, f.Size) || learned.SHA256 == f.Identity() {
			t.Fatalf("learn: %+v, %v", learned, err)
		}
		w.srv.Handler.Reset()
		asked := len(w.srv.Requests())
		again, err := a.Learn(t.Context(), "release", f)
		if err != nil || again != learned {
			t.Errorf("again: %+v, %v", again, err)
		}
		if index(t, a) != text || len(w.srv.Requests()) != asked {
			t.Errorf("fetched again: %v", w.srv.Requests())
		}
	}
}

func TestWrongSHA512(t *testing.T) {
	w := newWorld(t, hello())
	w.Only512 = true
	w.srv.Set(w.Archive)
	a := w.open(t)
	f := poolBySHA512(t, index(t, a), "hello")
	for summary, change := range map[string]func(*File){
		"another sum":    func(f *File) { f.SHA512 = fmt.Sprintf("%x", sha512.Sum512([]byte("x"))) },
		"another size":   func(f *File) { f.Size-- },
		"no sum":         func(f *File) { f.SHA512 = "" },
		"a sum too long": func(f *File) { f.SHA512 += "00" },
		"letters":        func(f *File) { f.SHA512 = strings.Repeat("g", 128) },
		"path out":       func(f *File) { f.Path = "../x" },
	} {
		bad := f
		change(&bad)
		if got, err := a.Learn(t.Context(), "release", bad); err == nil {
			t.Errorf("%s: %+v", summary, got)
		}
	}
	w = newWorld(t, hello())
	w.Only512 = true
	w.Overlay = map[string][]byte{}
	for p, b := range w.Files() {
		if strings.Contains(p, "/Packages") || strings.Contains(p, "by-hash") {
			w.Overlay[p] = []byte(strings.Repeat("x", len(b)))
		}
	}
	w.srv.Set(w.Archive)
	bad := w.open(t)
	if _, err := bad.Packages(t.Context(), bad.Pockets[0], "main"); err == nil || !strings.Contains(err.Error(), "SHA-512") {
		t.Errorf("a changed index: %v", err)
	}
	for _, text := range []string{"SHA512:\n " + strings.Repeat("0", 64) + " 1 x\n", "SHA256:\n " + strings.Repeat("0", 128) + " 1 x\n"} {
		if r, err := parseRelease([]byte("Suite: x\nDate: Thu, 15 Oct 2026 12:18:34 UTC\n" + text)); err == nil {
			t.Errorf("sums of another kind: %+v", r.Files)
		}
	}
}

// poolBySHA512 is a package's file as an index without SHA-256 states it.
func poolBySHA512(t *testing.T, index, name string) File {
	t.Helper()
	for p, err := range control.Paragraphs(index) {
		if err != nil {
			t.Fatal(err)
		}
		if control.Field(p, "Package") != name {
			continue
		}
		size, err := strconv.ParseInt(control.Field(p, "Size"), 10, 64)
		if err != nil || control.Field(p, "SHA256") != "" {
			t.Fatalf("the fixture states a SHA-256, or no size: %v", err)
		}
		return File{Path: control.Field(p, "Filename"), Size: size, SHA512: control.Field(p, "SHA512")}
	}
	t.Fatalf("no package %s", name)
	return File{}
}
