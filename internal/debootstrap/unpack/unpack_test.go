package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var stamp = time.Unix(1_500_000_000, 0)

// ent is a tar member in short: "folder etc 0755", "file etc/x body", ...
type ent = tar.Header

func folder(name string, mode int64) *ent {
	return &ent{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}
}

func file(name, body string) *ent {
	return &ent{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Linkname: body}
}

func sym(name, target string) *ent {
	return &ent{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}
}

func hard(name, target string) *ent {
	return &ent{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}
}

func with(h *ent, f func(*ent)) *ent { f(h); return h }

// archive makes a tar; a file's body is its Linkname.
func archive(t testing.TB, ents ...*ent) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range ents {
		h := *e
		if h.ModTime.IsZero() {
			h.ModTime = stamp
		}
		body := ""
		if h.Typeflag == tar.TypeReg {
			body, h.Linkname = h.Linkname, ""
			h.Size = int64(len(body))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func needsRoot(t testing.TB) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("needs root: files are given owners")
	}
}

// newTree is a tree inside a folder in which nothing else may appear.
func newTree(t testing.TB) (*Tree, string) {
	t.Helper()
	needsRoot(t)
	path := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree, path
}

func never(a, b string) bool { return false }

// text is the tree as lines: "/etc/x file 0644 0:0 98ea6e4f [=first name of a hard link set]".
func text(t testing.TB, root string) string {
	t.Helper()
	var lines []string
	first := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		name := "/" + strings.TrimPrefix(strings.TrimPrefix(p, root), "/")
		what, more := "dir", ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			what = "file"
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			more = fmt.Sprintf(" %x", sha256.Sum256(b))[:9]
			if st.Nlink > 1 {
				if first[st.Ino] == "" {
					first[st.Ino] = name
				}
				more += " =" + first[st.Ino]
			}
		case unix.S_IFLNK:
			l, _ := os.Readlink(p)
			lines = append(lines, name+" -> "+l)
			return nil
		case unix.S_IFDIR:
		default:
			what = fmt.Sprintf("type %#o", st.Mode&unix.S_IFMT)
		}
		lines = append(lines, fmt.Sprintf("%s %s %04o %d:%d%s", name, what, st.Mode&0o7777, st.Uid, st.Gid, more))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n"
}

// sum is how text shows a body.
func sum(body string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(body)))[:8] }

// unpackOne unpacks one package as a round of its own.
func unpackOne(t testing.TB, tree *Tree, data []byte, p *Package) (*Result, error) {
	t.Helper()
	if p.Replaces == nil {
		p.Replaces = never
	}
	res, err := tree.Unpack(context.Background(), bytes.NewReader(data), p)
	if err != nil {
		return nil, err
	}
	if _, err := tree.Settle(); err != nil {
		return nil, err
	}
	return res, tree.ApplyDirs(Round{Results: []*Result{res}, Required: map[string]bool{p.Name: true}})
}

func TestUnpack(t *testing.T) {
	ids := &IDs{Users: map[string]int{"root": 0, "man": 6}, Groups: map[string]int{"root": 0, "shadow": 42}}
	for _, tc := range []struct {
		summary string
		ents    []*ent
		pkg     Package
		list    string
		tree    string
	}{
		{
			summary: "owners by name, else by number; setuid survives chown",
			ents: []*ent{
				folder(".", 0o755), folder("./usr", 0o755),
				with(file("./usr/chage", "x"), func(e *ent) { e.Mode, e.Gname, e.Gid = 0o2755, "shadow", 7 }),
				with(file("./usr/su", "y"), func(e *ent) { e.Mode, e.Uname, e.Uid = 0o4755, "nobody", 99 }),
			},
			list: "/.\n/usr\n/usr/chage\n/usr/su\n",
			tree: "/ dir 0755 0:0\n/usr dir 0755 0:0\n" +
				"/usr/chage file 2755 0:42 " + sum("x") + "\n/usr/su file 4755 99:0 " + sum("y") + "\n",
		},
		{
			summary: "directory modes are the archive's, sticky included, and parents that are not listed are made",
			ents:    []*ent{folder("./tmp", 0o1777), file("./opt/a/b", "x")},
			list:    "/tmp\n/opt/a/b\n",
			tree: "/ dir 0755 0:0\n/opt dir 0755 0:0\n/opt/a dir 0755 0:0\n/opt/a/b file 0644 0:0 " + sum("x") +
				"\n/tmp dir 1777 0:0\n",
		},
		{
			summary: "hard links, one of them to a conffile that waits under another name",
			ents: []*ent{
				folder("./etc", 0o755), file("./etc/c", "conf"), hard("./etc/d", "./etc/c"),
				file("./etc/e", "e"), hard("./etc/f", "./etc/e"),
			},
			pkg:  Package{Conffiles: map[string]bool{"/etc/c": true}, ConffilesNew: true},
			list: "/etc\n/etc/c\n/etc/d\n/etc/e\n/etc/f\n",
			tree: "/ dir 0755 0:0\n/etc dir 0755 0:0\n" +
				"/etc/c.dpkg-new file 0644 0:0 " + sum("conf") + " =/etc/c.dpkg-new\n" +
				"/etc/d file 0644 0:0 " + sum("conf") + " =/etc/c.dpkg-new\n" +
				"/etc/e file 0644 0:0 " + sum("e") + " =/etc/e\n/etc/f file 0644 0:0 " + sum("e") + " =/etc/e\n",
		},
		{
			summary: "a diverted file goes where the diversion says, and is listed where it was",
			ents:    []*ent{folder("./bin", 0o755), file("./bin/sh", "x")},
			pkg:     Package{Diversions: map[string]string{"/bin/sh": "/bin/sh.distrib"}},
			list:    "/bin\n/bin/sh\n",
			tree:    "/ dir 0755 0:0\n/bin dir 0755 0:0\n/bin/sh.distrib file 0644 0:0 " + sum("x") + "\n",
		},
		{
			summary: "statoverride wins over the archive",
			ents:    []*ent{file("./su", "x")},
			pkg:     Package{Overrides: map[string]Meta{"/su": {Mode: 0o4750, UID: 0, GID: 9}}},
			list:    "/su\n",
			tree:    "/ dir 0755 0:0\n/su file 4750 0:9 " + sum("x") + "\n",
		},
		{
			summary: "links keep any target, and are never followed out of the tree",
			ents:    []*ent{sym("./a", "../../../../etc/passwd"), sym("./b", "/etc/shadow"), sym("./c", "a")},
			list:    "/a\n/b\n/c\n",
			tree:    "/ dir 0755 0:0\n/a -> ../../../../etc/passwd\n/b -> /etc/shadow\n/c -> a\n",
		},
		{
			summary: "a hard link to a symbolic link",
			ents:    []*ent{sym("./a", "x"), hard("./b", "./a")},
			list:    "/a\n/b\n",
			tree:    "/ dir 0755 0:0\n/a -> x\n/b -> x\n",
		},
		{
			summary: "devices and fifos are listed and never made",
			ents: []*ent{
				folder("./dev", 0o755),
				{Typeflag: tar.TypeChar, Name: "./dev/null", Mode: 0o666, Devmajor: 1, Devminor: 3},
				{Typeflag: tar.TypeBlock, Name: "./dev/sda", Mode: 0o660, Devmajor: 8},
				{Typeflag: tar.TypeFifo, Name: "./dev/p", Mode: 0o600},
			},
			list: "/dev\n/dev/null\n/dev/sda\n/dev/p\n",
			tree: "/ dir 0755 0:0\n/dev dir 0755 0:0\n",
		},
		{
			summary: "names of 200 bytes, spaces and bytes that are no UTF-8",
			ents:    []*ent{file("./"+strings.Repeat("n", 200), "x"), file("./a b\xff", "y")},
			list:    "/" + strings.Repeat("n", 200) + "\n/a b\xff\n",
			tree: "/ dir 0755 0:0\n/a b\xff file 0644 0:0 " + sum("y") + "\n/" +
				strings.Repeat("n", 200) + " file 0644 0:0 " + sum("x") + "\n",
		},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			tree, path := newTree(t)
			tc.pkg.Name, tc.pkg.IDs = "pkg", ids
			res, err := unpackOne(t, tree, archive(t, tc.ents...), &tc.pkg)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(res.List, "\n") + "\n"; got != tc.list {
				t.Errorf("list:\n%swant:\n%s", got, tc.list)
			}
			if got := text(t, path); got != tc.tree {
				t.Errorf("tree:\n%swant:\n%s", got, tc.tree)
			}
		})
	}
}

func TestNodes(t *testing.T) {
	tree, _ := newTree(t)
	if err := tree.Seed(nil, []string{"bin", "lib"}, nil); err != nil {
		t.Fatal(err)
	}
	res, err := unpackOne(t, tree, archive(t,
		folder("./lib", 0o755),
		&ent{Typeflag: tar.TypeChar, Name: "./lib/n", Mode: 0o660, Gid: 6, Devmajor: 1, Devminor: 300},
	), &Package{Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	want := Node{Path: "/usr/lib/n", Type: 'c', Meta: Meta{0o660, 0, 6}, MTime: stamp.Unix(), Major: 1, Minor: 300}
	if len(res.Nodes) != 1 || res.Nodes[0] != want {
		t.Errorf("got %+v, want %+v", res.Nodes, want)
	}
}

func TestTimes(t *testing.T) {
	tree, path := newTree(t)
	late := stamp.Add(time.Hour)
	res, err := unpackOne(t, tree, archive(t,
		folder(".", 0o755), folder("./d", 0o755), file("./d/f", "x"),
		with(sym("./d/l", "f"), func(e *ent) { e.ModTime = late }),
		hard("./d/h", "./d/f"),
	), &Package{Name: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if res.Newest != late.Unix() {
		t.Errorf("newest %d, want %d", res.Newest, late.Unix())
	}
	for name, want := range map[string]int64{"": stamp.Unix(), "d": stamp.Unix(), "d/f": stamp.Unix(), "d/l": late.Unix()} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(path, name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Mtim.Sec != want || st.Mtim.Nsec != 0 {
			t.Errorf("%q: mtime %d.%09d, want %d", name, st.Mtim.Sec, st.Mtim.Nsec, want)
		}
	}
}

func TestHashes(t *testing.T) {
	const md5x, md5y = "9dd4e461268c8034f5c8564e155c67a6", "415290769594460e2e485922904f345d"
	ents := []*ent{file("./etc/x", "x"), file("./y", "y"), hard("./z", "./y"), sym("./l", "y")}
	for _, tc := range []struct {
		summary string
		pkg     Package
		want    []Hash
	}{
		{"conffiles in place", Package{}, []Hash{{"/etc/x", md5x}}},
		{"conffiles that wait", Package{ConffilesNew: true}, nil},
		{"all files, for a package without md5sums", Package{HashAll: true, ConffilesNew: true},
			[]Hash{{"/etc/x", md5x}, {"/y", md5y}, {"/z", md5y}}},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			tree, _ := newTree(t)
			tc.pkg.Name, tc.pkg.Conffiles = "p", map[string]bool{"/etc/x": true}
			res, err := unpackOne(t, tree, archive(t, ents...), &tc.pkg)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(res.Hashes) != fmt.Sprint(tc.want) {
				t.Errorf("got %v, want %v", res.Hashes, tc.want)
			}
		})
	}
}

func TestMergedLayout(t *testing.T) {
	tree, path := newTree(t)
	if err := tree.Seed([]string{"/etc"}, []string{"bin", "lib"}, []string{"lib64", "lib32"}); err != nil {
		t.Fatal(err)
	}
	// The shape of noble's base-files, which ships the links itself, and of an
	// older libc6, which does not know of them.
	for name, ents := range map[string][]*ent{
		"base-files": {folder(".", 0o755), sym("./bin", "usr/bin"), sym("./lib", "usr/lib")},
		"libc6":      {folder("./lib", 0o755), file("./lib/ld.so", "x"), folder("./lib64", 0o755), sym("./lib64/ld", "/lib/ld.so")},
		"dash":       {folder("./bin", 0o755), file("./bin/sh", "x")},
	} {
		if _, err := unpackOne(t, tree, archive(t, ents...), &Package{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	want := "/ dir 0755 0:0\n/bin -> usr/bin\n/etc dir 0755 0:0\n/lib -> usr/lib\n/lib64 -> usr/lib64\n" +
		"/usr dir 0755 0:0\n/usr/bin dir 0755 0:0\n/usr/bin/sh file 0644 0:0 " + sum("x") + "\n/usr/lib dir 0755 0:0\n" +
		"/usr/lib/ld.so file 0644 0:0 " + sum("x") + "\n/usr/lib64 dir 0755 0:0\n/usr/lib64/ld -> /lib/ld.so\n"
	if got := text(t, path); got != want {
		t.Errorf("tree:\n%swant:\n%s", got, want)
	}
	_, err := unpackOne(t, tree, archive(t, sym("./bin", "sbin")), &Package{Name: "evil"})
	var m *MemberError
	if !errors.As(err, &m) || m.Package != "evil" {
		t.Errorf("a package that bends /bin: %v", err)
	}
}

func TestClampTimes(t *testing.T) {
	tree, path := newTree(t)
	if _, err := unpackOne(t, tree, archive(t, folder("./d", 0o755), file("./d/old", "x")), &Package{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now().Unix()
	if err := tree.WriteFile("/d/new", nil, Meta{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Symlink("x", "/d/link"); err != nil {
		t.Fatal(err)
	}
	for _, epoch := range []int64{stamp.Unix() + 5, began + 1<<30} { // before and after the clock
		if err := tree.ClampTimes(epoch, began); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]int64{"": epoch, "d": epoch, "d/new": epoch, "d/link": epoch, "d/old": stamp.Unix()} {
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(path, name), &st); err != nil {
				t.Fatal(err)
			}
			if st.Mtim.Sec != want || st.Mtim.Nsec != 0 {
				t.Errorf("epoch %d: %q has %d.%09d, want %d", epoch, name, st.Mtim.Sec, st.Mtim.Nsec, want)
			}
			if want == epoch { // as a script would have left it
				now := []unix.Timespec{{Sec: began + 1, Nsec: 5}, {Sec: began + 1, Nsec: 5}}
				if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(path, name), now, unix.AT_SYMLINK_NOFOLLOW); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}
