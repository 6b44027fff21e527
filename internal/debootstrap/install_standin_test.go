package debootstrap

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

// What packages do to a program that has a stand-in while they are configured, they do to the program.
func TestStandInsInTheWay(t *testing.T) {
	const program = "usr/bin/ischroot"
	for _, c := range []struct {
		summary, postinst string
		more              []testarchive.File
		other             *testarchive.Package
		stages            bool
		want              map[string]string // mode, or type, and content; "" is not there
	}{
		{summary: "left alone", want: map[string]string{program: "755 the program\n"}},
		{summary: "diverted", postinst: "dpkg-divert --local --divert /usr/bin/ischroot.distrib --rename --add /usr/bin/ischroot",
			want: map[string]string{program + ".distrib": "755 the program\n", program: ""}},
		{summary: "diverted and replaced", postinst: "dpkg-divert --local --divert /usr/bin/ischroot.distrib --rename --add /usr/bin/ischroot\n" +
			"echo mine > /usr/bin/ischroot", want: map[string]string{program + ".distrib": "755 the program\n", program: "644 mine\n"}},
		{summary: "overridden", postinst: "dpkg-statoverride --update --add root mail 2711 /usr/bin/ischroot",
			want: map[string]string{program: "2711 the program\n"}},
		{summary: "replaced", postinst: "rm /usr/bin/ischroot; echo mine > /usr/bin/ischroot; chmod 755 /usr/bin/ischroot", want: map[string]string{program: "755 mine\n"}},
		{summary: "made a link", postinst: "ln -sf true /usr/bin/ischroot", want: map[string]string{program: "link true"}},
		{summary: "made a folder", postinst: "rm /usr/bin/ischroot; mkdir /usr/bin/ischroot", want: map[string]string{program: "folder"}},
		{summary: "removed", postinst: "rm /usr/bin/ischroot", want: map[string]string{program: ""}},
		{summary: "the other name is taken", more: []testarchive.File{{Name: program + ".REAL", Body: "shipped\n"}},
			want: map[string]string{program: "755 the program\n", program + ".REAL": "755 shipped\n"}},
		{summary: "replaced by a later package", stages: true, other: &testarchive.Package{Name: "later",
			Fields: map[string]string{"Replaces": "isch"}, Files: []testarchive.File{{Name: program, Body: "later\n", Mode: 0o755}}},
			want: map[string]string{program: "755 later\n"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			p := testarchive.Package{Name: "isch", Files: append(c.more, testarchive.File{Name: program, Body: "the program\n", Mode: 0o755})}
			if c.postinst != "" {
				p.Scripts = map[string]string{"postinst": "#!/bin/sh\nset -e\nischroot\n" + c.postinst + "\n"}
			}
			packages := []testarchive.Package{required(p)}
			if c.other != nil {
				packages = append(packages, *c.other)
			}
			f := newFixture(t, packages...)
			f.lock.Rules = suites.Rules{RootOrderMod: 65521}
			if c.stages {
				f.lock.Rules = inStages()
			}
			tree, _, err := f.install(context.Background(), nil)
			if err != nil {
				t.Fatalf("%v\n%s", err, &f.logs)
			}
			if _, listed := c.want[program+".REAL"]; !listed {
				c.want[program+".REAL"] = ""
			}
			for name, want := range c.want {
				if got := f.short(filepath.Join(tree, name)); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		})
	}
}

// short is a name's mode and content, or its type, or "".
func (f *fixture) short(name string) string {
	st, err := os.Lstat(name)
	switch {
	case os.IsNotExist(err):
		return ""
	case err != nil:
		f.t.Fatal(err)
	case st.IsDir():
		return "folder"
	case st.Mode()&os.ModeSymlink != 0:
		to, _ := os.Readlink(name)
		return "link " + to
	}
	b, err := os.ReadFile(name)
	if err != nil {
		f.t.Fatal(err)
	}
	mode := st.Mode().Perm().String()
	octal := map[string]string{"-rwxr-xr-x": "755", "-rw-r--r--": "644", "-rwx--x--x": "711"}[mode]
	if st.Mode()&os.ModeSetgid != 0 {
		octal = "2" + octal
	}
	return octal + " " + string(b)
}

// A package that takes the name away under which the program lies meanwhile has lost it, and the build says so.
func TestStandInLost(t *testing.T) {
	for _, script := range []string{"rm /usr/bin/ischroot.REAL", "echo mine > /usr/bin/new; mv /usr/bin/new /usr/bin/ischroot.REAL"} {
		f := newFixture(t, required(testarchive.Package{Name: "isch", Files: []testarchive.File{{Name: "usr/bin/ischroot", Body: "the program\n"}},
			Scripts: map[string]string{"postinst": "#!/bin/sh\n" + script + "\n"}}))
		if _, _, err := f.install(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "put /usr/bin/ischroot back") {
			t.Errorf("%s: %v", script, err)
		}
	}
}
