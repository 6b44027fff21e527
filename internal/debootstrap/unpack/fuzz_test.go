package unpack

import (
	"bytes"
	"context"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// FuzzClean: what clean lets through is a clean absolute path.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"./", ".", "./etc/x", "etc/x/", "../x", "/x", ".//x", "./a/./b", "a//b", "..", "./..", "a\nb", "././a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, err := clean(name)
		if err != nil {
			return
		}
		if !strings.HasPrefix(got, "/") || path.Clean(got) != got || strings.ContainsAny(got, "\n\x00") {
			t.Fatalf("clean(%q) = %q", name, got)
		}
		if got != "/" && !filepath.IsLocal(got[1:]) {
			t.Fatalf("clean(%q) = %q leaves the tree", name, got)
		}
		if path.Join("/", name) != got {
			t.Fatalf("clean(%q) = %q, path.Join says %q", name, got, path.Join("/", name))
		}
	})
}

// FuzzUnpack: whatever the tar, nothing appears outside the tree, and what is
// listed exists or is a device.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, folder("./etc", 0o755), file("./etc/x", "body"), sym("./l", "/etc"), hard("./h", "./etc/x")))
	f.Add(archive(f, sym("./x", "../.."), file("./x/outside2", "")))
	f.Add(rawName(f, "../outside2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<16 {
			return
		}
		tree, root := newTree(t)
		outside := filepath.Join(filepath.Dir(root), "outside")
		if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		res, err := tree.Unpack(context.Background(), bytes.NewReader(data), &Package{
			Name: "p", Replaces: never, Limits: Limits{Bytes: 1 << 20, Members: 1000},
		})
		if err == nil {
			nodes := map[string]bool{}
			for _, n := range res.Nodes {
				nodes[n.Path] = true
			}
			for _, l := range res.List {
				if l != "/." && !nodes[l] && !tree.Exists(l) {
					t.Errorf("listed, but not there: %q", l)
				}
			}
		}
		names, err := filepath.Glob(filepath.Dir(root) + "/*")
		if b, _ := os.ReadFile(outside); err != nil || len(names) != 2 || string(b) != "mine" {
			t.Fatalf("outside the tree: %v %q", names, b)
		}
	})
}
