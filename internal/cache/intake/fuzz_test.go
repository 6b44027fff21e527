package intake

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Whatever is imported, the disk says what the manifest says, its digest is that of its tar, and nothing beside the folder
// is touched. What GNU tar takes without a word of complaint it makes the same tree of.
func FuzzImport(f *testing.F) {
	if os.Geteuid() != 0 {
		f.Skip("needs root: owners and device nodes")
	}
	top := folder("./")
	for _, b := range [][]byte{
		archive(f, top, file("f", "one"), hard("g", "f"), sym("s", "../x"), folder("d/"), file("d/f", "two")),
		archive(f, top, sym("d", "/tmp"), file("d/f", "x"), file("d", "y")),
		archive(f, top, with(file("p", "x"), func(e *ent) { e.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "y"} })),
		archive(f, file("a/../../x", ""), file("/etc/x", "")),
		archive(f, top, with(file(strings.Repeat("g", 150), "x"), func(e *ent) { e.Format = tar.FormatGNU })),
		archive(f, top, file("f", "one"), file("f", "two"), folder("f/"), file(".wh.f", "")),
	} {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, second bool) {
		if len(b) > 1<<20 {
			return
		}
		b = mended(b)
		outside := t.TempDir()
		tree := filepath.Join(outside, "tree")
		must(t, os.Mkdir(tree, 0o700))
		ctx := context.Background()
		u, err := New(ctx, tree, Options{MaxSize: 1 << 20, MaxEntries: 1000})
		must(t, err)
		err = u.Layer(ctx, strings.NewReader(string(b)), false, false)
		if err == nil && second {
			err = u.Layer(ctx, strings.NewReader(string(b)), true, true)
		}
		var m *snapshot.Manifest
		if err == nil {
			m, err = u.Finish(ctx, tree)
		}
		u.Close()
		if names, e := os.ReadDir(outside); e != nil || len(names) != 1 {
			t.Fatalf("beside the tree: %v %v", names, e)
		}
		if err != nil {
			return
		}
		if diff := cmp.Diff(m, scanned(t, tree, m)); diff != "" {
			t.Fatalf("disk: %s", diff)
		}
		if second || onlyHere(m, b) {
			return
		}
		gnu, said, err := gnuTree(t, b)
		if err != nil || said != "" {
			return
		}
		if diff := cmp.Diff(listing(gnu)[1:], listing(m)[1:]); diff != "" {
			t.Errorf("GNU tar: %s", diff)
		}
	})
}

// onlyHere reports what GNU tar makes another tree of on purpose: folders that no entry speaks of, links to folders that
// stay when a folder comes, and whatever it understands of records that nobody writes into a root's archive.
func onlyHere(m *snapshot.Manifest, b []byte) bool {
	for _, e := range m.Entries {
		if e.Type == snapshot.TypeDir && e.MTime == 0 {
			return true
		}
	}
	for at := 0; at+block <= len(b); at += block {
		for _, field := range [][]byte{b[at+100 : at+108], b[at+108 : at+116], b[at+116 : at+124], b[at+124 : at+136], b[at+136 : at+148], b[at+329 : at+345]} {
			if field[0] == 0 && len(bytes.Trim(field, "\x00")) > 0 { // a number after a NUL: to GNU tar none
				return true
			}
		}
	}
	return strings.Contains(string(b), "PaxHeader") || strings.Contains(string(b), "=")
}

// mended makes the checksums of headers right, so that what fuzzing changes in them is looked at.
func mended(b []byte) []byte {
	b = bytes.Clone(b)
	for at := 0; at+block <= len(b); at += block {
		h := b[at : at+block]
		if string(h[257:262]) != "ustar" {
			continue
		}
		copy(h[148:156], "        ")
		n := 0
		for _, c := range h {
			n += int(c)
		}
		copy(h[148:156], fmt.Sprintf("%06o\x00 ", n))
	}
	return b
}
