package dpkg

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/deb"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

func newDatabase(t *testing.T) (*Database, string) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("needs root: the database's files are given owners")
	}
	root := t.TempDir()
	tree, err := unpack.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	if err := tree.Seed(Dirs(), nil, nil); err != nil {
		t.Fatal(err)
	}
	return New(tree, 65521), filepath.Join(root, AdminDir)
}

// pkg reads a package from its control files: "control", then name, content pairs.
func pkg(t *testing.T, control string, members ...string) *Package {
	t.Helper()
	c := &deb.Control{Paragraph: control, Members: []deb.Member{{Name: "control", Mode: 0o644, Data: []byte(control)}}}
	for i := 0; i < len(members); i += 2 {
		mode := uint32(0o644)
		if strings.HasSuffix(members[i], "inst") {
			mode = 0o755
		}
		c.Members = append(c.Members, deb.Member{Name: members[i], Mode: mode, Data: []byte(members[i+1])})
	}
	p, err := Read(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// files is the database as text, all files of it.
func files(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(p string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(&b, "== %s %04o\n%s", rel, fi.Mode().Perm(), data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDatabase(t *testing.T) {
	db, dir := newDatabase(t)
	if err := db.Init([]string{"Package: base\nPriority: required\n", "\nPackage: libx1\nPriority: optional"}); err != nil {
		t.Fatal(err)
	}
	base := pkg(t, "Package: base\nVersion: 1\nArchitecture: all\nPriority: optional\nSection: misc\nDescription: x\n y\n",
		"postinst", "#!/bin/sh\n", "conffiles", "/etc/a\n/etc/b\n", "triggers", "interest-noawait /usr/share/man\ninterest other\n")
	base.Required, base.Priority, base.Section = true, "required", "admin"
	base.List = []string{"/.", "/etc", "/etc/a", "/etc/b"}
	base.Sums = []unpack.Hash{{Path: "/etc/a", MD5: "0cc175b9c0f1b6a831c399e269772661"}, {Path: "/etc/b", MD5: "92eb5ffee6ae2fec3ad71c777531578f"}}
	lib := pkg(t, "Package: libx1\nVersion: 2\nArchitecture: amd64\nMulti-Arch: same\nPriority: extra\nSection: libs\nDescription: z\n",
		"md5sums", "900150983cd24fb0d6963f7d28e17f72  usr/share/man/x\n", "conffiles", "/etc/c\nremove-on-upgrade /etc/gone\n",
		"triggers", "# none\nactivate-noawait ldconfig\n\nactivate other # why\ninterest-await /usr/lib/x\n")
	lib.List = []string{"/.", "/usr", "/usr/share", "/usr/share/man", "/usr/share/man/x", "/usr/lib/x/y"}
	if err := db.Add([]*Package{lib, base}, nil); err != nil {
		t.Fatal(err)
	}
	want := `== available 0644
Package: base
Priority: required

Package: libx1
Priority: optional

== cmethopt 0644
apt apt
== info/base.conffiles 0644
/etc/a
/etc/b
== info/base.list 0644
/.
/etc
/etc/a
/etc/b
== info/base.md5sums 0644
0cc175b9c0f1b6a831c399e269772661  etc/a
92eb5ffee6ae2fec3ad71c777531578f  etc/b
== info/base.postinst 0755
#!/bin/sh
== info/base.triggers 0644
interest-noawait /usr/share/man
interest other
== info/format 0644
1
== info/libx1:amd64.conffiles 0644
/etc/c
remove-on-upgrade /etc/gone
== info/libx1:amd64.list 0644
/.
/usr
/usr/share
/usr/share/man
/usr/share/man/x
/usr/lib/x/y
== info/libx1:amd64.md5sums 0644
900150983cd24fb0d6963f7d28e17f72  usr/share/man/x
== info/libx1:amd64.triggers 0644
# none
activate-noawait ldconfig

activate other # why
interest-await /usr/lib/x
== status 0644
Package: base
Status: install ok unpacked
Version: 1
Architecture: all
Priority: required
Section: admin
Description: x
 y
Conffiles:
 /etc/a 0cc175b9c0f1b6a831c399e269772661
 /etc/b 92eb5ffee6ae2fec3ad71c777531578f

Package: libx1
Status: install ok unpacked
Version: 2
Architecture: amd64
Multi-Arch: same
Priority: extra
Section: libs
Description: z
Conffiles:
 /etc/c newconffile
 /etc/gone newconffile remove-on-upgrade

== triggers/File 0644
/usr/share/man base/noawait
/usr/lib/x libx1:amd64
== triggers/Unincorp 0644
ldconfig -
other libx1
/usr/share/man -
/usr/lib/x libx1
== triggers/other 0644
base
`
	if got := files(t, dir); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// A second round adds to what dpkg has made of the first, and takes over files.
func TestSecondRound(t *testing.T) {
	db, dir := newDatabase(t)
	if err := db.Init(nil); err != nil {
		t.Fatal(err)
	}
	a := pkg(t, "Package: a\nArchitecture: amd64\nMulti-Arch: same\n", "triggers", "interest /usr/share/x\n")
	a.List = []string{"/.", "/usr/f"}
	if err := db.Add([]*Package{a}, nil); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"status": "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\n", "triggers/Unincorp": "/usr/share/x z\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b := pkg(t, "Package: b\nArchitecture: all\n", "md5sums", "")
	b.List = []string{"/usr/f", "/usr/share/x/1", "/usr/share/x/2", "/usr/share/xy"}
	if err := db.Add([]*Package{b}, []unpack.Lost{{Package: "a", Path: "/usr/f", By: "b"}}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"status":            "Package: a\nStatus: install ok installed\nArchitecture: amd64\n\nPackage: b\nStatus: install ok unpacked\nArchitecture: all\n\n",
		"triggers/Unincorp": "/usr/share/x z b\n",
		"triggers/File":     "/usr/share/x a:amd64\n",
		"info/a:amd64.list": "/.\n",
		"info/b.md5sums":    "",
	} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	bad, installed, err := db.Unfinished()
	if err != nil || installed != 1 || fmt.Sprint(bad) != "[{b install ok unpacked}]" {
		t.Errorf("unfinished: %v %d %v", bad, installed, err)
	}
}

func TestDiversionsAndOverrides(t *testing.T) {
	db, dir := newDatabase(t)
	write := func(name, data string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	of, err := db.Diversions()
	if err != nil || len(of("x")) != 0 {
		t.Fatalf("none: %v", err)
	}
	write("diversions", "/bin/sh\n/bin/sh.distrib\ndash\n/a\n/b\n:\n")
	if of, err = db.Diversions(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(of("bash"), of("dash")); got != "map[/a:/b /bin/sh:/bin/sh.distrib] map[/a:/b]" {
		t.Error(got)
	}
	for _, bad := range []string{"/a\n/b\n", "/a\n../b\nx\n", "/a\n/../b\nx\n"} {
		write("diversions", bad)
		if _, err := db.Diversions(); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	ids := &unpack.IDs{Users: map[string]int{"root": 0}, Groups: map[string]int{"mail": 8}}
	write("statoverride", "root mail 2755 /usr/bin/x y\n#7 #9 4750 /z\n")
	got, err := db.Overrides(ids)
	if err != nil || fmt.Sprint(got) != "map[/usr/bin/x y:{1517 0 8} /z:{2536 7 9}]" {
		t.Error(got, err)
	}
	write("statoverride", "nobody mail 2755 /x\n")
	if _, err := db.Overrides(ids); err == nil {
		t.Error("unknown user: no error")
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tc := range []struct{ name, data string }{
		{"../evil", ""}, {"list", ""}, {".x", ""}, {"a b", ""}, {strings.Repeat("x", 51), ""},
		{"conffiles", "etc/x\n"}, {"conffiles", "/etc/../../x\n"}, {"conffiles", "obsolete /x\n"},
		{"triggers", "interest\n"}, {"triggers", "interest ../status\n"}, {"triggers", "interest File\n"},
		{"triggers", "interest a/b\n"}, {"triggers", "watch x\n"}, {"triggers", "interest \x7f\n"},
	} {
		c := &deb.Control{Paragraph: "Package: p\n", Members: []deb.Member{{Name: tc.name, Data: []byte(tc.data)}}}
		if _, err := Read(c); err == nil {
			t.Errorf("member %q %q: no error", tc.name, tc.data)
		}
	}
}
