package reference

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

// makeTree makes a small tree with one of each kind of file.
func makeTree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	must(os.Mkdir(filepath.Join(dir, "d"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "d/f"), []byte("x"), 0o644))
	must(os.Link(filepath.Join(dir, "d/f"), filepath.Join(dir, "d/g")))
	must(os.WriteFile(filepath.Join(dir, "d/h"), []byte("x"), 0o644))
	must(os.Symlink("f", filepath.Join(dir, "d/l")))
	must(unix.Mkfifo(filepath.Join(dir, "d/p"), 0o600))
	return dir
}

func TestCompareTreesSeesEachKind(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chown and mknod")
	}
	at := func(dir, name string) string { return filepath.Join(dir, "d", name) }
	for _, c := range []struct {
		summary string
		change  func(dir string) error
		want    string // "kind path" of every difference
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"missing", func(d string) error { return os.WriteFile(at(d, "new"), nil, 0o644) }, "missing d/new"},
		{"extra", func(d string) error { return os.Remove(at(d, "p")) }, "extra d/p"},
		{"mode", func(d string) error { return os.Chmod(at(d, "p"), 0o644) }, "mode d/p"},
		{"setuid", func(d string) error { return unix.Chmod(at(d, "h"), 0o4644) }, "mode d/h"},
		{"owner", func(d string) error { return os.Lchown(at(d, "l"), 1, 2) }, "owner d/l"},
		{"group of a folder", func(d string) error { return os.Lchown(at(d, ""), 0, 2) }, "owner d"},
		{"link", func(d string) error { _ = os.Remove(at(d, "l")); return os.Symlink("h", at(d, "l")) }, "link d/l"},
		{"type", func(d string) error { _ = os.Remove(at(d, "l")); return os.WriteFile(at(d, "l"), []byte("f"), 0o644) }, "type d/l"},
		{"content", func(d string) error { return os.WriteFile(at(d, "h"), []byte("y"), 0o644) }, "content d/h"},
		{"xattr", func(d string) error { return unix.Setxattr(at(d, "h"), "user.a", []byte("b"), 0) }, "xattr d/h"},
		{"capability", func(d string) error {
			return unix.Setxattr(at(d, "h"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0)
		}, "xattr d/h"},
		{"hard links cut", func(d string) error { _ = os.Remove(at(d, "g")); return os.WriteFile(at(d, "g"), []byte("x"), 0o644) }, "hardlink d/f hardlink d/g"},
		{"the top's mode", func(d string) error { return os.Chmod(d, 0o700) }, "mode ."},
		{"device", func(d string) error {
			_ = os.Remove(at(d, "p"))
			return unix.Mknod(at(d, "p"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
		}, "type d/p"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			a, b := makeTree(t), makeTree(t)
			if err := c.change(b); err != nil {
				t.Fatal(err)
			}
			ours, err := ScanTree(a)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := ScanTree(b)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range CompareTrees(ours, theirs) {
				got = append(got, d.Kind+" "+d.Path)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v, want %s", got, c.want)
			}
		})
	}
}

func TestOnlyTheDayIsMaskedInShadow(t *testing.T) {
	scan := func(text string) Tree {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "etc/shadow"), []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
		tree, err := ScanTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	ours := scan("root:*:17647:0:99999:7:::\n")
	if all := CompareTrees(ours, scan("root:*:20000:0:99999:7:::\n")); len(all) != 0 {
		t.Errorf("another day: %v", all)
	}
	for _, other := range []string{"root:*:20000:0:::::\n", "root::20000:0:99999:7:::\n", "root:*::0:99999:7:::\n"} {
		if all := CompareTrees(ours, scan(other)); len(all) != 1 || all[0].Kind != "content" {
			t.Errorf("%q: %v", other, all)
		}
	}
}

func TestJoinBelievesNoRecord(t *testing.T) {
	entries := func() []cache.Entry {
		sum := cache.Sum([]byte("x"))
		return []cache.Entry{
			{Path: ".", Type: cache.TypeDir, Mode: 0o755}, {Path: "d", Type: cache.TypeDir, Mode: 0o2755, GID: 50},
			{Path: "d/f", Type: cache.TypeFile, Mode: 0o4755, UID: 7, SHA256: sum},
			{Path: "d/g", Type: cache.TypeHardlink, Link: "d/f"}, {Path: "d/h", Type: cache.TypeFile, Mode: 0o644, SHA256: sum},
			{Path: "d/l", Type: cache.TypeSymlink, Mode: 0o777, Link: "f"}, {Path: "d/p", Type: cache.TypeFifo},
			{Path: "dev", Type: cache.TypeChar, Mode: 0o666, Major: 1, Minor: 3},
		}
	}
	dir := makeTree(t)
	scan := func() Tree {
		tree, err := ScanTree(dir)
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	tree, err := join(scan(), &cache.Manifest{Entries: entries()})
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{"d/f": "file 4755 7:0", "d/g": "file 4755 7:0", "dev": "char 0666 0:0 1,3", "d": "dir 2755 0:50"} {
		if got := tree[p].String(); got != want {
			t.Errorf("%s is %s, want %s", p, got, want)
		}
	}
	for summary, change := range map[string]func(e []cache.Entry) []cache.Entry{
		"missing in the manifest": func(e []cache.Entry) []cache.Entry { return e[:6] },
		"missing on disk":         func(e []cache.Entry) []cache.Entry { return append(e, cache.Entry{Path: "x", Type: cache.TypeDir}) },
		"other content":           func(e []cache.Entry) []cache.Entry { e[4].SHA256 = cache.Sum(nil); return e },
		"other type":              func(e []cache.Entry) []cache.Entry { e[6].Type = cache.TypeDir; return e },
		"other target":            func(e []cache.Entry) []cache.Entry { e[5].Link = "g"; return e },
	} {
		if _, err := join(scan(), &cache.Manifest{Entries: change(entries())}); err == nil {
			t.Errorf("%s: no error", summary)
		}
	}
}

func TestAllowed(t *testing.T) {
	list, err := ReadAllowed(strings.NewReader("# comment\n\netc/x content,mode debootstrap bionic,xen* its own file\nrun/** * * */minbase junk\nvar/*.log missing mmdebstrap * log\n"))
	if err != nil {
		t.Fatal(err)
	}
	var applied []*Allowed
	for _, a := range list {
		if a.Applies("debootstrap", "xenial", "minbase") {
			applied = append(applied, a)
		}
	}
	if len(applied) != 2 {
		t.Fatalf("%d apply", len(applied))
	}
	all := []Difference{{Path: "etc/x", Kind: "mode"}, {Path: "etc/x", Kind: "owner"}, {Path: "run", Kind: "extra"}, {Path: "run/a/b", Kind: "extra"}, {Path: "var/a.log", Kind: "missing"}}
	stand, allowed := Judge(all, applied)
	if got := fmt.Sprint(stand); got != "[{etc/x owner  } {run extra  } {var/a.log missing  }]" || len(allowed) != 2 {
		t.Errorf("stand %v, allowed %v", stand, allowed)
	}
	if list[0].Used != 1 || list[1].Used != 1 || list[2].Used != 0 {
		t.Error("uses are counted wrongly")
	}
	if list[1].Applies("debootstrap", "xenial", "buildd") {
		t.Error("an entry for minbase applies to buildd")
	}
	for _, bad := range []string{"a content * *", "a colour * * why", "a content other * why", "[ content * * why", "a content * [ why"} {
		if _, err := ReadAllowed(strings.NewReader(bad)); err == nil {
			t.Errorf("taken: %s", bad)
		}
	}
}

func TestAllowedAnywhere(t *testing.T) {
	list, err := ReadAllowed(strings.NewReader("**/__pycache__ missing * * caches\n**/__pycache__/** missing * * caches\n"))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"__pycache__": true, "usr/lib/x/__pycache__": true, "usr/__pycache__/a/b": true, "usr/x__pycache__": false, "usr/__pycache__.py": false,
	} {
		if _, allowed := Judge([]Difference{{Path: path, Kind: "missing"}}, list); (len(allowed) == 1) != want {
			t.Errorf("%s allowed: %v", path, !want)
		}
	}
}

func TestPackages(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "var/lib/dpkg"), 0o755); err != nil {
		t.Fatal(err)
	}
	status := "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: x\n Version: 9\n\nPackage: b\nStatus: install ok unpacked\nArchitecture: all\nVersion: 2\n"
	if err := os.WriteFile(filepath.Join(dir, "var/lib/dpkg/status"), []byte(status), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadPackages(dir)
	if err != nil || fmt.Sprint(got) != "map[a:amd64:1 install ok installed b:all:2 install ok unpacked]" {
		t.Errorf("%v %v", got, err)
	}
	other := Packages{"a:amd64": "1 install ok installed", "b:all": "3 install ok installed", "c:all": "1 install ok installed"}
	all, ours, theirs := ComparePackages(got, other, false)
	if len(all) != 2 || len(ours) != 0 || fmt.Sprint(theirs) != "[c:all]" {
		t.Errorf("%v %v %v", all, ours, theirs)
	}
	if all, _, _ := ComparePackages(got, other, true); len(all) != 1 || all[0].Path != "b:all" {
		t.Errorf("common: %v", all)
	}
}
