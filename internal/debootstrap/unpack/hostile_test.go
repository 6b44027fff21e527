package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// rawName makes a ustar header with a name tar.Writer would refuse.
func rawName(t testing.TB, name string) []byte {
	t.Helper()
	b := archive(t, file(strings.Repeat("n", len(name)), "body"))
	copy(b, name)
	return resum(b)
}

// resum sets the check sum of a tar's first header.
func resum(b []byte) []byte {
	copy(b[148:156], "        ")
	n := 0
	for _, c := range b[:512] {
		n += int(c)
	}
	copy(b[148:156], []byte{
		'0', byte('0' + n>>15&7), byte('0' + n>>12&7), byte('0' + n>>9&7),
		byte('0' + n>>6&7), byte('0' + n>>3&7), byte('0' + n&7), 0,
	})
	return b
}

// Every one of these must be refused with a *MemberError that names package
// and member, and change nothing outside the tree.
func TestHostileMembers(t *testing.T) {
	for _, tc := range []struct {
		summary string
		data    func(t testing.TB) []byte
		member  string
		limits  Limits
	}{
		{"dot-dot", func(t testing.TB) []byte { return rawName(t, "../outside") }, "../outside", Limits{}},
		{"dot-dot inside", func(t testing.TB) []byte { return rawName(t, "./usr/../../outside") }, "./usr/../../outside", Limits{}},
		{"dot-dot at the end", func(t testing.TB) []byte { return rawName(t, "./usr/..") }, "./usr/..", Limits{}},
		{"absolute", func(t testing.TB) []byte { return rawName(t, "/etc/passwd") }, "/etc/passwd", Limits{}},
		{"absolute behind ./", func(t testing.TB) []byte { return rawName(t, ".//etc/passwd") }, ".//etc/passwd", Limits{}},
		{"line end in a name", func(t testing.TB) []byte { return rawName(t, "./a\n/etc/shadow") }, "./a\n/etc/shadow", Limits{}},
		{"part of 250 bytes", func(t testing.TB) []byte { return archive(t, file("./"+strings.Repeat("n", 250), "")) },
			"./" + strings.Repeat("n", 250), Limits{}},
		{"link, then write through it", func(t testing.TB) []byte {
			return archive(t, sym("./x", "/etc"), file("./x/passwd", "root::0:0"))
		}, "./x/passwd", Limits{}},
		{"link up, then write through it", func(t testing.TB) []byte {
			return archive(t, sym("./x", "../.."), file("./x/outside", ""))
		}, "./x/outside", Limits{}},
		{"link, then a directory below it", func(t testing.TB) []byte {
			return archive(t, sym("./x", "/var"), folder("./x/d", 0o777))
		}, "./x/d/", Limits{}},
		{"link, then a directory in its place", func(t testing.TB) []byte {
			return archive(t, sym("./x", "/var"), folder("./x", 0o777))
		}, "./x/", Limits{}},
		{"link below a link's directory, deep", func(t testing.TB) []byte {
			return archive(t, folder("./a", 0o755), file("./a/1", ""), sym("./a/x", "/"), file("./a/x/b/c/d", ""))
		}, "./a/x/b/c/d", Limits{}},
		{"hard link out", func(t testing.TB) []byte { return archive(t, hard("./x", "../outside")) }, "./x", Limits{}},
		{"hard link to an absolute path", func(t testing.TB) []byte { return archive(t, hard("./x", "/etc/passwd")) }, "./x", Limits{}},
		{"hard link to another package's file", func(t testing.TB) []byte { return archive(t, hard("./x", "./etc/other")) }, "./x", Limits{}},
		{"hard link to a device", func(t testing.TB) []byte {
			return archive(t, &ent{Typeflag: tar.TypeChar, Name: "./n", Devmajor: 1}, hard("./x", "./n"))
		}, "./x", Limits{}},
		{"the same file twice", func(t testing.TB) []byte { return archive(t, file("./x", "a"), file("./x", "b")) }, "./x", Limits{}},
		{"file over its own link", func(t testing.TB) []byte { return archive(t, sym("./x", "/etc/passwd"), file("./x", "b")) }, "./x", Limits{}},
		{"another package's file", func(t testing.TB) []byte { return archive(t, file("./etc/other", "b")) }, "./etc/other", Limits{}},
		{"file in a directory's place", func(t testing.TB) []byte { return archive(t, file("./etc", "b")) }, "./etc", Limits{}},
		{"directory in a file's place", func(t testing.TB) []byte { return archive(t, folder("./etc/other", 0o755)) }, "./etc/other/", Limits{}},
		{"file as the top", func(t testing.TB) []byte { return archive(t, sym("./", "/etc")) }, "./", Limits{}},
		{"too many bytes", func(t testing.TB) []byte { return archive(t, file("./a", "12345"), file("./b", "123456")) }, "./b", Limits{Bytes: 10}},
		{"a name that fills the screen", func(t testing.TB) []byte { return archive(t, file("./"+strings.Repeat("n/", 3000)+"n", "")) },
			"./" + strings.Repeat("n/", 3000) + "n", Limits{}},
		{"too many members", func(t testing.TB) []byte { return archive(t, file("./a", ""), file("./b", "")) }, "./b", Limits{Members: 1}},
		{"a size that is not there", func(t testing.TB) []byte { return archive(t, file("./a", strings.Repeat("x", 2000)))[:1024] }, "./a", Limits{}},
		{"unknown type", func(t testing.TB) []byte {
			b := archive(t, file("./x", ""))
			b[156] = 'Q'
			return resum(b)
		}, "./x", Limits{}},
		{"owner that is no id", func(t testing.TB) []byte {
			return archive(t, with(file("./x", ""), func(e *ent) { e.Uid, e.Format = 1<<32-1, tar.FormatPAX }))
		}, "./x", Limits{}},
		{"empty link", func(t testing.TB) []byte { return archive(t, sym("./x", "")) }, "./x", Limits{}},
		{"device number beyond Linux's", func(t testing.TB) []byte {
			return archive(t, &ent{Typeflag: tar.TypeBlock, Name: "./n", Devmajor: 1 << 20})
		}, "./n", Limits{}},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			tree, path := newTree(t)
			outside := filepath.Join(filepath.Dir(path), "outside")
			if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := unpackOne(t, tree, archive(t, folder("./etc", 0o755), file("./etc/other", "o")), &Package{Name: "other"}); err != nil {
				t.Fatal(err)
			}
			_, err := unpackOne(t, tree, tc.data(t), &Package{Name: "evil", Limits: tc.limits})
			var m *MemberError
			if !errors.As(err, &m) {
				t.Fatalf("got %v, want a *MemberError", err)
			}
			if len(m.Error()) > 500 {
				t.Errorf("the message is %d bytes long", len(m.Error()))
			}
			if m.Package != "evil" || m.Member != tc.member {
				t.Errorf("error names package %q, member %q, want member %q", m.Package, m.Member, tc.member)
			}
			names, err := filepath.Glob(filepath.Dir(path) + "/*")
			if b, _ := os.ReadFile(outside); err != nil || len(names) != 2 || string(b) != "mine" {
				t.Errorf("outside the tree: %v %q", names, b)
			}
		})
	}
}

// A root in which a script has bent names must not lead out either.
func TestHostileTree(t *testing.T) {
	tree, path := newTree(t)
	outside := filepath.Join(filepath.Dir(path), "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside+"/kept", []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"etc": outside, "up": "../outside", "var": "/proc/self/root" + outside, "magic": "/proc/self/cwd"} {
		if err := os.Symlink(target, filepath.Join(path, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"/etc/kept", "/up/kept", "/var/kept", "/magic/kept"} {
		if b, err := tree.ReadFile(name, 100); err == nil {
			t.Errorf("%s: read %q", name, b)
		}
		if err := tree.WriteFile(name, []byte("evil"), Meta{Mode: 0o600}); err == nil {
			t.Errorf("%s: was written", name)
		}
		tree.Remove(name)
		tree.RemoveAll(name)
		tree.Rename(name, "/stolen")
	}
	for _, name := range []string{"/etc", "/up", "/var"} {
		if err := tree.Empty(name, nil); err != nil {
			t.Error(err)
		}
		if err := tree.MkdirAll(name+"/sub", Meta{Mode: 0o755}); err == nil {
			t.Errorf("%s/sub: made", name)
		}
		if err := tree.RemoveAll(name); err != nil { // the link itself
			t.Error(err)
		}
	}
	if err := tree.ClampTimes(0, 0); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(outside); len(names) != 1 {
		t.Errorf("outside holds %v", names)
	}
	var st unix.Stat_t
	if err := unix.Stat(outside+"/kept", &st); err != nil || st.Mtim.Sec == 0 || st.Size != 4 {
		t.Errorf("outside was changed: %+v, %v", st, err)
	}
}

func TestCancelled(t *testing.T) {
	tree, _ := newTree(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := tree.Unpack(ctx, bytes.NewReader(archive(t, file("./x", ""))), &Package{Name: "p", Replaces: never})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
