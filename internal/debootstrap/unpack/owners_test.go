package unpack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A file that two packages ship belongs to the one that Replaces the other,
// whichever is unpacked first, and at once too.
func TestReplaces(t *testing.T) {
	data := map[string][]byte{
		"new": archive(t, folder("./usr", 0o755), file("./usr/f", "new"), hard("./usr/g", "./usr/f")),
		"old": archive(t, folder("./usr", 0o755), file("./usr/f", "old"), file("./usr/o", "o")),
	}
	replaces := func(a, b string) bool { return a == "new" && b == "old" }
	one := func(t *testing.T, tree *Tree, name string) *Result {
		res, err := tree.Unpack(context.Background(), bytes.NewReader(data[name]), &Package{Name: name, Replaces: replaces})
		if err != nil {
			t.Error(err)
			return &Result{Package: name}
		}
		return res
	}
	for _, order := range []string{"new old", "old new", "at once"} {
		t.Run(order, func(t *testing.T) {
			for range 20 {
				tree, path := newTree(t)
				if order == "at once" {
					var wg sync.WaitGroup
					for name := range data {
						wg.Go(func() { one(t, tree, name) })
					}
					wg.Wait()
				} else {
					for _, name := range strings.Fields(order) {
						one(t, tree, name)
					}
				}
				lost, err := tree.Settle()
				if err != nil {
					t.Fatal(err)
				}
				if want := "[{old /usr/f new}]"; fmt.Sprint(lost) != want {
					t.Errorf("lost %v, want %s", lost, want)
				}
				want := "/ dir 0755 0:0\n/usr dir 0755 0:0\n/usr/f file 0644 0:0 " + sum("new") + " =/usr/f\n/usr/g file 0644 0:0 " +
					sum("new") + " =/usr/f\n/usr/o file 0644 0:0 " + sum("o") + "\n"
				if got := text(t, path); got != want {
					t.Fatalf("tree:\n%swant:\n%s", got, want)
				}
			}
		})
	}
}

func TestConflict(t *testing.T) {
	tree, _ := newTree(t)
	if err := tree.Seed(nil, []string{"bin"}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackOne(t, tree, archive(t, folder("./bin", 0o755), file("./bin/x", "1")), &Package{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	// Another name for the same file of a merged tree, which dpkg would not see.
	_, err := unpackOne(t, tree, archive(t, folder("./usr/bin", 0o755), file("./usr/bin/x", "2")), &Package{Name: "b"})
	var c *Conflict
	if !errors.As(err, &c) || c.Other != "a" || c.Path != "/usr/bin/x" {
		t.Errorf("got %v", err)
	}
}

func TestLeftoversOfScripts(t *testing.T) {
	tree, path := newTree(t)
	if err := os.Mkdir(filepath.Join(path, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "etc/made"), []byte("by a script"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(path, "etc/link")); err != nil {
		t.Fatal(err)
	}
	data := archive(t, folder("./etc", 0o700), file("./etc/made", "shipped"), file("./etc/link", "file"))
	res, err := tree.Unpack(context.Background(), bytes.NewReader(data), &Package{Name: "p", Replaces: never})
	if err != nil {
		t.Fatal(err)
	}
	// A base package changes no directory that was there.
	if err := tree.ApplyDirs(Round{Results: []*Result{res}}); err != nil {
		t.Fatal(err)
	}
	want := "/ dir 0755 0:0\n/etc dir 0755 0:0\n/etc/link file 0644 0:0 " + sum("file") + "\n/etc/made file 0644 0:0 " + sum("shipped") + "\n"
	if got := text(t, path); got != want {
		t.Errorf("tree:\n%swant:\n%s", got, want)
	}
}

func TestDirectoryModesDoNotDependOnOrder(t *testing.T) {
	mode := map[string]int64{"base-files": 0o755, "a": 0o711, "z": 0o700, "extra": 0o777}
	for _, tc := range []struct {
		summary string
		last    bool
		skip    string
		want    string
	}{
		{"the first", false, "", "0755"},
		{"the last required", true, "", "0700"},
		{"the first but for base-files", false, "base-files", "0711"},
	} {
		for _, order := range []string{"base-files a z extra", "extra z a base-files", "z extra base-files a"} {
			t.Run(tc.summary+": "+order, func(t *testing.T) {
				tree, path := newTree(t)
				r := Round{Required: map[string]bool{"base-files": true, "a": true, "z": true}, LastWins: tc.last, First: "base-files"}
				for _, name := range strings.Fields(order) {
					if name == tc.skip {
						continue
					}
					res, err := tree.Unpack(context.Background(), bytes.NewReader(archive(t, folder("./d", mode[name]))), &Package{Name: name, Replaces: never})
					if err != nil {
						t.Fatal(err)
					}
					r.Results = append(r.Results, res)
				}
				if err := tree.ApplyDirs(r); err != nil {
					t.Fatal(err)
				}
				if got := text(t, path); !strings.Contains(got, "/d dir "+tc.want+" 0:0\n") {
					t.Errorf("tree:\n%swant mode %s", got, tc.want)
				}
			})
		}
	}
}

func TestLinkOverDirectoryOfAnotherPackage(t *testing.T) {
	for _, order := range []string{"link dir", "dir link"} {
		tree, _ := newTree(t)
		data := map[string][]byte{
			"link": archive(t, folder("./t", 0o755), sym("./d", "t")),
			"dir":  archive(t, folder("./d", 0o755), file("./d/f", "x")),
		}
		var r Round
		for _, name := range strings.Fields(order) {
			res, err := tree.Unpack(context.Background(), bytes.NewReader(data[name]), &Package{Name: name, Replaces: never})
			if err != nil {
				t.Fatal(err)
			}
			r.Results = append(r.Results, res)
		}
		var m *MemberError
		if err := tree.ApplyDirs(r); !errors.As(err, &m) || m.Package != "link" {
			t.Errorf("%s: %v", order, err)
		}
	}
}
