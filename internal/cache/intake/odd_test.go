package intake

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// listing is a manifest as text, a line an entry: path, type, mode, owner, time, and what is particular to the type.
func listing(m *snapshot.Manifest) []string {
	var out []string
	for _, e := range m.Entries {
		line := fmt.Sprintf("%s %c %04o %d:%d %d", e.Path, e.Type, e.Mode, e.UID, e.GID, e.MTime)
		switch e.Type {
		case snapshot.TypeFile:
			line += " " + string(e.SHA256)[:8]
		case snapshot.TypeSymlink, snapshot.TypeHardlink:
			line += " -> " + e.Link
		case snapshot.TypeChar, snapshot.TypeBlock:
			line += fmt.Sprintf(" %d:%d", e.Major, e.Minor)
		}
		if len(e.Xattrs) > 0 {
			line += fmt.Sprint(" ", e.Xattrs)
		}
		out = append(out, line)
	}
	return out
}

func sum(s string) string { return string(snapshot.Sum([]byte(s)))[:8] }

// TestOdd imports what is odd but honest. The disk must say what the manifest says, and GNU tar, unless it is said to do
// otherwise, must make the same tree.
func TestOdd(t *testing.T) {
	needsRoot(t)
	top := with(folder("./"), func(e *ent) {})
	const root = ". d 0755 0:0 1000000000"
	own := func(e *ent) { e.Uid, e.Gid = 2_500_000_000, 77; e.Mode = 0o6711; e.Format = tar.FormatGNU }
	for _, tc := range []struct {
		summary string
		tar     []byte
		want    []string // after the root
		alone   bool     // GNU tar does otherwise
	}{
		{"a name twice: the later wins", archive(t, top, file("f", "one"), file("f", "two")), []string{"f f 0644 0:0 1000000000 " + sum("two")}, false},
		{"file over a link, which is not written through", archive(t, top, sym("f", "/etc/hostname"), file("f", "two")), []string{"f f 0644 0:0 1000000000 " + sum("two")}, true}, // tar makes such links last
		{"link over a file", archive(t, top, file("f", "one"), sym("f", "x")), []string{"f l 0777 0:0 1000000000 -> x"}, false},
		{"file over an empty folder", archive(t, top, folder("f/"), file("f", "two")), []string{"f f 0644 0:0 1000000000 " + sum("two")}, false},
		{"folder over a file", archive(t, top, file("d", "one"), folder("d/"), file("d/f", "x")),
			[]string{"d d 0755 0:0 1000000000", "d/f f 0644 0:0 1000000000 " + sum("x")}, false},
		{"folder over a link", archive(t, top, folder("e/"), sym("d", "e"), folder("d/"), file("d/f", "x")),
			[]string{"d d 0755 0:0 1000000000", "d/f f 0644 0:0 1000000000 " + sum("x"), "e d 0755 0:0 1000000000"}, true}, // tar keeps a link to a folder
		{"folder twice: the later's mode", archive(t, top, folder("d/"), file("d/f", "x"), with(folder("d/"), func(e *ent) { e.Mode = 0o2700 })),
			[]string{"d d 2700 0:0 1000000000", "d/f f 0644 0:0 1000000000 " + sum("x")}, false},
		{"folders nobody speaks of", archive(t, file("a/b/f", "x")),
			[]string{"a d 0755 0:0 0", "a/b d 0755 0:0 0", "a/b/f f 0644 0:0 1000000000 " + sum("x")}, true}, // tar takes the time of day
		{"hardlink whose file is replaced", archive(t, top, file("f", "one"), hard("g", "./f"), file("f", "two")),
			[]string{"f f 0644 0:0 1000000000 " + sum("two"), "g f 0644 0:0 1000000000 " + sum("one")}, false},
		{"hardlinks before and after their file in order", archive(t, top, file("m", "one"), hard("a", "m"), hard("z", "a")),
			[]string{"a f 0644 0:0 1000000000 " + sum("one"), "m h 0644 0:0 1000000000 -> a", "z h 0644 0:0 1000000000 -> a"}, false},
		{"hardlink of a name to itself", archive(t, top, file("f", "one"), hard("f", "f")), []string{"f f 0644 0:0 1000000000 " + sum("one")}, true}, // tar removes it first
		{"hardlink to a link", archive(t, top, sym("s", "x"), hard("t", "s")),
			[]string{"s l 0777 0:0 1000000000 -> x", "t l 0777 0:0 1000000000 -> x"}, false},
		{"setuid, large owners", archive(t, top, with(file("su", "x"), own)), []string{"su f 6711 2500000000:77 1000000000 " + sum("x")}, false},
		{"times before 1970, in fractions, after 2446", archive(t, top, with(file("a", ""), func(e *ent) { e.ModTime, e.Format = time.Unix(-5, 0), tar.FormatGNU }),
			with(file("b", ""), func(e *ent) { e.ModTime, e.Format = time.Unix(5, 999999999), tar.FormatPAX }),
			with(file("c", ""), func(e *ent) { e.ModTime, e.Format = time.Unix(1<<40, 0), tar.FormatGNU })),
			[]string{"a f 0644 0:0 0 " + sum(""), "b f 0644 0:0 5 " + sum(""), "c f 0644 0:0 15032385535 " + sum("")}, false},
		{"long names of GNU and of pax", archive(t, top, with(file(strings.Repeat("g", 150), "x"), func(e *ent) { e.Format = tar.FormatGNU }),
			with(sym(strings.Repeat("p", 150), strings.Repeat("../", 80)+"x"), func(e *ent) { e.Format = tar.FormatPAX })),
			[]string{strings.Repeat("g", 150) + " f 0644 0:0 1000000000 " + sum("x"), strings.Repeat("p", 150) + " l 0777 0:0 1000000000 -> " + strings.Repeat("../", 80) + "x"}, false},
		{"names with dots, slashes, bytes that are no text", archive(t, top, folder("./a//./b/"), file("././a/b/.hidden", ""), with(file("\xff\n", ""), func(e *ent) { e.Format = tar.FormatGNU })),
			[]string{"a d 0755 0:0 0", "a/b d 0755 0:0 1000000000", "a/b/.hidden f 0644 0:0 1000000000 " + sum(""), "\xff\n f 0644 0:0 1000000000 " + sum("")}, true},
		{"devices, fifo", archive(t, top, with(file("b", ""), func(e *ent) { e.Typeflag, e.Devmajor, e.Devminor = tar.TypeBlock, 8, 300000 }),
			with(file("c", ""), func(e *ent) { e.Typeflag, e.Devmajor, e.Devminor, e.Gid = tar.TypeChar, 1, 3, 5 }), with(file("p", ""), func(e *ent) { e.Typeflag = tar.TypeFifo })),
			[]string{"b b 0644 0:0 1000000000 8:300000", "c c 0644 0:5 1000000000 1:3", "p p 0644 0:0 1000000000"}, false},
		{"attributes that no root keeps", archive(t, top, with(file("f", ""), func(e *ent) {
			e.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.a%3Db": "c", "SCHILY.acl.access": "user::rwx", "SCHILY.xattr.security.selinux": "x"}
		})), []string{"f f 0644 0:0 1000000000 " + sum("") + " map[user.a=b:c]"}, true},
		{"a list that says what the mode does", archive(t, top, with(file("f", ""), func(e *ent) {
			e.PAXRecords = map[string]string{"SCHILY.xattr.system.posix_acl_access": "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x04\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"}
		})), []string{"f f 0644 0:0 1000000000 " + sum("")}, false},
		{"a list that says more than the mode", archive(t, top, with(file("f", ""), func(e *ent) {
			e.PAXRecords = map[string]string{"SCHILY.xattr.system.posix_acl_access": acl(6, 4, 7)}
		})), []string{"f f 0644 0:0 1000000000 " + sum("") + " map[system.posix_acl_access:" + acl(6, 4, 4) + "]"}, false},
		{"git's header for all", archive(t, with(folder("g"), func(e *ent) {
			*e = ent{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "0123"}}}
		}), top, file("f", "")), []string{"f f 0644 0:0 1000000000 " + sum("")}, false},
		{"marks of removals in a tar are files", archive(t, top, file(".wh.x", ""), file("x", "")),
			[]string{".wh.x f 0644 0:0 1000000000 " + sum(""), "x f 0644 0:0 1000000000 " + sum("")}, false},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			tree, m, err := taken(t, Options{}, tc.tar)
			must(t, err)
			got := listing(m)
			if !strings.HasPrefix(got[0], ". d 0755 0:0") {
				t.Errorf("root %q", got[0])
			}
			if diff := cmp.Diff(tc.want, got[1:]); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(m, scanned(t, tree, m)); diff != "" {
				t.Errorf("disk: %s", diff)
			}
			if !tc.alone {
				if got[0] != root {
					t.Errorf("root %q", got[0])
				}
				if diff := cmp.Diff(listing(byGNU(t, tc.tar)), got); diff != "" {
					t.Errorf("GNU tar: %s", diff)
				}
			}
		})
	}
}

// byGNU is the tree that GNU tar makes of an archive.
func byGNU(t testing.TB, b []byte) *snapshot.Manifest {
	t.Helper()
	m, out, err := gnuTree(t, b)
	if err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	return m
}

func gnuTree(t testing.TB, b []byte) (*snapshot.Manifest, string, error) {
	dir := filepath.Join(t.TempDir(), "gnu")
	must(t, os.Mkdir(dir, 0o755))
	c := exec.Command("tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", "-", "-C", dir)
	c.Stdin = bytes.NewReader(b)
	out, err := c.CombinedOutput()
	if err != nil {
		return nil, string(out), err
	}
	return scanned(t, dir, nil), string(out), nil
}

func TestBounds(t *testing.T) {
	top := folder("./")
	for summary, tc := range map[string]struct {
		o   Options
		tar []byte
	}{
		"entries":   {Options{MaxEntries: 2}, archive(t, top, file("a", ""), file("b", ""))},
		"made ones": {Options{MaxEntries: 3}, archive(t, file("a/b/c/d", ""))},
		"bytes":     {Options{MaxSize: 3}, archive(t, top, file("a", "12"), file("b", "34"))},
		"replaced":  {Options{MaxSize: 3}, archive(t, top, file("a", "12"), file("a", "34"))},
		"declared":  {Options{MaxSize: 1 << 40}, patchedSize(archive(t, file("a", "12")), "\x80\x00\x00\x00\x00\x0f\xff\xff\xff\xff\xff\x00")},
	} {
		_, _, err := taken(t, tc.o, tc.tar)
		if err == nil || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", summary, err)
		}
	}
}

func patchedSize(b []byte, size string) []byte {
	copy(b[124:136], size)
	return mended(b)
}

// Layers of an image, each over those before it.
func TestLayers(t *testing.T) {
	needsRoot(t)
	base := archive(t, folder("./"), folder("d/"), file("d/a", "a"), file("d/b", "b"), folder("d/e/"), file("d/e/f", "f"), file("g", "g"), hard("h", "g"), sym("s", "d"))
	const at = " 0644 0:0 1000000000 "
	const d = " d 0755 0:0 1000000000"
	for _, tc := range []struct {
		summary string
		layer   []byte
		want    []string
	}{
		{"a file goes", archive(t, file("d/.wh.a", ""), file(".wh.nothing", ""), file("no/such/.wh.x", "")),
			[]string{"d" + d, "d/b f" + at + sum("b"), "d/e" + d, "d/e/f f" + at + sum("f"), "g f" + at + sum("g"), "h h" + at + "-> g", "s l 0777 0:0 1000000000 -> d"}},
		{"a folder goes, one name of two, a link", archive(t, file(".wh.d", ""), file(".wh.g", ""), file(".wh.s", "")), []string{"h f" + at + sum("g")}},
		{"all of a folder goes but what the layer has, in any order", archive(t, file("d/new", "n"), folder("d/e/"), file("d/.wh..wh..opq", ""), file("d/z", "z")),
			[]string{"d" + d, "d/e" + d, "d/new f" + at + sum("n"), "d/z f" + at + sum("z"), "g f" + at + sum("g"), "h h" + at + "-> g", "s l 0777 0:0 1000000000 -> d"}},
		{"a file in a folder's place, a folder in a link's", archive(t, file("d", "now a file"), folder("s/"), file("s/x", "x")),
			[]string{"d f" + at + sum("now a file"), "g f" + at + sum("g"), "h h" + at + "-> g", "s" + d, "s/x f" + at + sum("x")}},
		{"removed and made again", archive(t, file(".wh.d", ""), folder("d/"), file("d/only", "o"), file(".wh.g", ""), file("g", "G")),
			[]string{"d" + d, "d/only f" + at + sum("o"), "g f" + at + sum("G"), "h f" + at + sum("g"), "s l 0777 0:0 1000000000 -> d"}},
		{"made and removed: marks speak of lower layers", archive(t, file("d/a", "A"), file("d/.wh.a", ""), file(".wh.d", ""), file("g", "G"), file(".wh.g", "")),
			[]string{"d" + d, "d/a f" + at + sum("A"), "g f" + at + sum("G"), "h f" + at + sum("g"), "s l 0777 0:0 1000000000 -> d"}},
		{"aufs's own files, a hardlink into a lower layer", archive(t, file(".wh..wh.plnk", ""), folder("d/"), hard("d/a", "g"), hard("new", "d/b")),
			[]string{"d" + d, "d/a f" + at + sum("g"), "d/b f" + at + sum("b"), "d/e" + d, "d/e/f f" + at + sum("f"), "g h" + at + "-> d/a", "h h" + at + "-> d/a",
				"new h" + at + "-> d/b", "s l 0777 0:0 1000000000 -> d"}},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			tree, m, err := taken(t, Options{}, base, tc.layer)
			must(t, err)
			if diff := cmp.Diff(tc.want, listing(m)[1:]); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(m, scanned(t, tree, m)); diff != "" {
				t.Errorf("disk: %s", diff)
			}
		})
	}
}
