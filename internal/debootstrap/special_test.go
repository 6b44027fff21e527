package debootstrap

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

// The special cases of dpkg's and debootstrap's ways: each a package of a fixture that the real dpkg
// configures. docs/tests.md says which case is tested where.

func required(p testarchive.Package) testarchive.Package {
	if p.Fields == nil {
		p.Fields = map[string]string{}
	}
	p.Fields["Priority"] = "required"
	return p
}

// made installs packages beside the host's and returns the root.
func (f *fixture) made(rules suites.Rules) string {
	f.t.Helper()
	f.lock.Rules = rules
	tree, _, err := f.install(context.Background(), nil)
	if err != nil {
		f.t.Fatalf("%v\n%s", err, &f.logs)
	}
	if out := f.in(tree, "/usr/bin/dpkg", "--audit") + f.in(tree, "/usr/bin/dpkg", "--verify"); out != "" {
		f.t.Errorf("dpkg complains: %s", out)
	}
	return tree
}

func (f *fixture) holds(tree string, want map[string]string) {
	f.t.Helper()
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil || string(got) != text {
			f.t.Errorf("%s: %q, %v; want %q", name, got, err, text)
		}
	}
}

func inStages() suites.Rules { return suites.Rules{StagedVariants: []string{"*"}, RootOrderMod: 65521} }

// A required package's conffile is in place before any postinst runs (or passwd's would give shadow empty
// ageing fields, and dpkg would not find its own configuration and log nothing); a base package's waits as
// .dpkg-new, or preinsts would take it for an old installation's.
func TestConffilesBeforeConfigure(t *testing.T) {
	f := newFixture(t,
		required(testarchive.Package{Name: "aa-passwd", Scripts: map[string]string{
			"postinst": "#!/bin/sh\nset -e\ncat /etc/login.defs > /etc/seen-defs\ntest -s /var/log/dpkg.log && echo logged >> /etc/seen-defs\n"}}),
		required(testarchive.Package{Name: "zz-login", Files: []testarchive.File{{Name: "etc/login.defs", Body: "PASS_MAX_DAYS 99999\n"}},
			Scripts: map[string]string{"conffiles": "/etc/login.defs\n"}}),
		testarchive.Package{Name: "aa-rsyslog", Scripts: map[string]string{"preinst": "#!/bin/sh\nset -e\necho /etc/zz.conf* > /etc/seen-zz\n"}},
		testarchive.Package{Name: "zz-vim", Files: []testarchive.File{{Name: "etc/zz.conf", Body: "z\n"}}, Scripts: map[string]string{"conffiles": "/etc/zz.conf\n"}},
	)
	tree := f.made(suites.Rules{RootOrderMod: 65521})
	f.holds(tree, map[string]string{
		"etc/seen-defs": "PASS_MAX_DAYS 99999\nlogged\n",
		"etc/seen-zz":   "/etc/zz.conf.dpkg-new\n",
		"etc/zz.conf":   "z\n",
	})
}

// A preinst runs where dpkg would run it, with all control members beside it: debconf's looks there for
// templates, and notes "unknown" as their owner where it finds none.
func TestPreinstSurroundings(t *testing.T) {
	f := newFixture(t, testarchive.Package{Name: "asks", Version: "2:3-1", Scripts: map[string]string{
		"templates": "Template: asks/x\nType: note\nDescription: x\n",
		"config":    "#!/bin/sh\n",
		"preinst": `#!/bin/sh
set -e
{ echo $0 $*; ls $(dirname $0); env | grep ^DPKG_ | sort; } > /etc/seen-preinst
`,
	}})
	tree := f.made(suites.Rules{RootOrderMod: 65521})
	f.holds(tree, map[string]string{"etc/seen-preinst": `/var/lib/dpkg/tmp.ci/preinst install
config
control
preinst
templates
DPKG_ADMINDIR=/var/lib/dpkg
DPKG_MAINTSCRIPT_ARCH=` + f.lock.Arch + `
DPKG_MAINTSCRIPT_DEBUG=0
DPKG_MAINTSCRIPT_NAME=preinst
DPKG_MAINTSCRIPT_PACKAGE=asks
DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1
DPKG_ROOT=
`})
}

// md5sums: an empty member stays empty (g++'s), a missing one is made as dpkg makes it.
func TestEmptyMD5Sums(t *testing.T) {
	file := []testarchive.File{{Name: "usr/share/x/f", Body: "a"}}
	f := newFixture(t,
		testarchive.Package{Name: "g++", Scripts: map[string]string{"md5sums": ""}, Files: []testarchive.File{{Name: "usr/share/x/g", Link: "f"}}},
		testarchive.Package{Name: "old", NoMD5Sums: true, Files: file})
	tree := f.made(suites.Rules{RootOrderMod: 65521})
	f.holds(tree, map[string]string{
		"var/lib/dpkg/info/g++.md5sums": "",
		"var/lib/dpkg/info/old.md5sums": "0cc175b9c0f1b6a831c399e269772661  usr/share/x/f\n",
	})
}

// A conffile marked remove-on-upgrade (procps has one) is no file of the package.
func TestRemoveOnUpgrade(t *testing.T) {
	for _, req := range []bool{false, true} {
		p := testarchive.Package{Name: "procps", Files: []testarchive.File{{Name: "etc/kept.conf", Body: "k\n"}},
			Scripts: map[string]string{"conffiles": "remove-on-upgrade /etc/gone.conf\n/etc/kept.conf\n", "postinst": "#!/bin/sh\nexit 0\n"}}
		if req {
			p = required(p)
		}
		f := newFixture(t, p)
		tree := f.made(suites.Rules{RootOrderMod: 65521})
		f.holds(tree, map[string]string{"etc/kept.conf": "k\n"})
		for _, name := range []string{"gone.conf", "gone.conf.dpkg-new", "kept.conf.dpkg-new"} {
			if _, err := os.Lstat(filepath.Join(tree, "etc", name)); err == nil {
				t.Errorf("required %v: /etc/%s is there", req, name)
			}
		}
		const want = " /etc/gone.conf newconffile remove-on-upgrade\n /etc/kept.conf ccc87e7257869ad33a6a0bd9e28a4ae4"
		if got := f.in(tree, "/usr/bin/dpkg-query", "-W", "-f", "${Conffiles}", "procps"); got != want {
			t.Errorf("required %v: conffiles %q", req, got)
		}
	}
}

// What a required package's scripts divert and override holds for the base packages, which are unpacked
// after them; lists keep the names the archive has.
func TestDiversionsAreReadAgain(t *testing.T) {
	f := newFixture(t,
		required(testarchive.Package{Name: "wraps", Scripts: map[string]string{"postinst": `#!/bin/sh
set -e
dpkg-divert --package wraps --divert /usr/bin/tool.real --rename --add /usr/bin/tool
dpkg-statoverride --add root mail 2755 /usr/bin/over
`}}),
		testarchive.Package{Name: "tool", Files: []testarchive.File{{Name: "usr/bin/tool", Body: "tool\n"}, {Name: "usr/bin/over", Body: "over\n"}}})
	tree := f.made(inStages())
	f.holds(tree, map[string]string{"usr/bin/tool.real": "tool\n"})
	if _, err := os.Lstat(filepath.Join(tree, "usr/bin/tool")); err == nil {
		t.Error("/usr/bin/tool is there, though diverted")
	}
	list, _ := os.ReadFile(filepath.Join(tree, "var/lib/dpkg/info/tool.list"))
	if !strings.Contains(string(list), "/usr/bin/tool\n") {
		t.Errorf("list: %s", list)
	}
	if got := f.in(tree, "/usr/bin/stat", "-c", "%a %u:%g", "/usr/bin/over"); got != "2755 0:8\n" {
		t.Errorf("overridden: %s", got)
	}
	if got := f.in(tree, "/usr/bin/dpkg-divert", "--list"); got != "diversion of /usr/bin/tool to /usr/bin/tool.real by wraps\n" {
		t.Errorf("diversions: %s", got)
	}
}

// The package that Replaces another owns the file they share, whatever is unpacked first.
func TestReplacesInARoot(t *testing.T) {
	newer := testarchive.Package{Name: "newer", Fields: map[string]string{"Replaces": "older (<< 2)"}, Files: []testarchive.File{{Name: "usr/share/both", Body: "new\n"}}}
	older := testarchive.Package{Name: "older", Files: []testarchive.File{{Name: "usr/share/both", Body: "old\n"}, {Name: "usr/share/own", Body: "o\n"}}}
	for _, order := range [][]testarchive.Package{{newer, older}, {older, newer}, {required(newer), older}, {required(older), newer}} {
		f := newFixture(t, order...)
		tree := f.made(inStages())
		f.holds(tree, map[string]string{"usr/share/both": "new\n", "usr/share/own": "o\n"})
		if got := f.in(tree, "/usr/bin/dpkg", "-S", "/usr/share/both"); got != "newer: /usr/share/both\n" {
			t.Errorf("owner: %s", got)
		}
	}
}

// Triggers of packages that are configured already are run by dpkg: named ones and those on folders.
func TestTriggersRun(t *testing.T) {
	f := newFixture(t,
		required(testarchive.Package{Name: "watches", Scripts: map[string]string{
			"triggers": "interest /usr/share/watched\ninterest-noawait ping\n",
			"postinst": "#!/bin/sh\nset -e\nif [ \"$1\" = triggered ]; then for n in $2; do echo $n; done | sort >> /etc/seen-triggers; fi\n"}}),
		testarchive.Package{Name: "ships", Files: []testarchive.File{{Name: "usr/share/watched/f", Body: "x"}}},
		testarchive.Package{Name: "pings", Scripts: map[string]string{"triggers": "activate ping\n"}})
	tree := f.made(inStages())
	seen, _ := os.ReadFile(filepath.Join(tree, "etc/seen-triggers"))
	for _, want := range []string{"/usr/share/watched\n", "ping\n"} {
		if !strings.Contains(string(seen), want) {
			t.Errorf("triggered with %q, want %q in it", seen, want)
		}
	}
	f.holds(tree, map[string]string{"var/lib/dpkg/triggers/Unincorp": "", "var/lib/dpkg/triggers/File": "/usr/share/watched watches\n"})
	if ping, _ := os.ReadFile(filepath.Join(tree, "var/lib/dpkg/triggers/ping")); string(ping) != "watches/noawait\n" {
		t.Errorf("triggers/ping: %q", ping)
	}
}

// Every compression for both members, odd sizes, and ar names that end in a slash.
func TestEveryCompressionInARoot(t *testing.T) {
	kinds := []string{"none", "gz", "xz", "zst", "bz2", "lzma"}
	var all []testarchive.Package
	for i, c := range kinds {
		for j, d := range kinds {
			all = append(all, testarchive.Package{Name: "c-" + c + "-d-" + d, ControlCompression: c, Compression: d, SlashNames: c != "lzma" && (i+j)%2 == 1, // control.tar.lzma leaves no room for a slash

				Files: []testarchive.File{{Name: "usr/share/" + c + "/" + d, Body: strings.Repeat("odd", 2*(i*6+j)+1)}}})
		}
	}
	f := newFixture(t, all...)
	tree := f.made(suites.Rules{RootOrderMod: 65521})
	for i, c := range kinds {
		for j, d := range kinds {
			f.holds(tree, map[string]string{"usr/share/" + c + "/" + d: strings.Repeat("odd", 2*(i*6+j)+1)})
		}
	}
	odd := 0
	for _, p := range all {
		odd += oddMembers(t, p.Deb())
	}
	if odd == 0 {
		t.Error("no member has an odd size")
	}
}

// oddMembers counts the ar members that are followed by a padding byte.
func oddMembers(t *testing.T, deb []byte) int {
	t.Helper()
	n := 0
	for at := 8; at < len(deb); {
		size, err := strconv.Atoi(strings.TrimSpace(string(deb[at+48 : at+58])))
		if err != nil {
			t.Fatal(err)
		}
		n += size % 2
		at += 60 + size + size%2
	}
	return n
}
