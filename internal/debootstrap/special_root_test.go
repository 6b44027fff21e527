package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

// While scripts run initctl is a stub, and makedev finds what tells it to leave /dev alone; neither is left.
func TestStubsOfSuites(t *testing.T) {
	f := newFixture(t,
		required(testarchive.Package{Name: "upstart", Files: []testarchive.File{{Name: "sbin/initctl", Body: "#!/bin/sh\necho real\n"}}}),
		required(testarchive.Package{Name: "makedev", Scripts: map[string]string{
			"postinst": "#!/bin/sh\nset -e\ntest -c /dev/.devfsd\n/sbin/initctl start x > /etc/seen-stubs\n"}}))
	tree := f.made(suites.Rules{RootOrderMod: 8191, Initctl: true, Devfsd: true})
	f.holds(tree, map[string]string{
		"etc/seen-stubs": "\nWarning: Fake initctl called, doing nothing\n",
		"sbin/initctl":   "#!/bin/sh\necho real\n",
	})
	for _, name := range []string{"sbin/initctl.REAL", "dev/.devfsd"} {
		if _, err := os.Lstat(filepath.Join(tree, name)); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

// The top-level links of a merged root are relative and only those the set has folders for; an unmerged
// root has none. Lists keep the archive's paths, so that dpkg -S finds /bin/bash in both.
func TestLayouts(t *testing.T) {
	for _, merged := range []bool{false, true} {
		f := newFixture(t, required(testarchive.Package{Name: "ld", Files: []testarchive.File{{Name: "lib32/x", Body: "x"}}}))
		f.lock.Merged = merged
		tree := f.made(suites.Rules{RootOrderMod: 65521})
		for _, d := range []string{"bin", "sbin", "lib", "lib32", "libx32", "libo32"} {
			to, err := os.Readlink(filepath.Join(tree, d))
			switch {
			case d == "libx32" || d == "libo32":
				if !os.IsNotExist(err) {
					t.Errorf("merged %v: /%s: %q, %v: no package has it", merged, d, to, err)
				}
			case merged != (err == nil && to == "usr/"+d):
				t.Errorf("merged %v: /%s is a link to %q, %v", merged, d, to, err)
			}
		}
		if got := f.in(tree, "/usr/bin/dpkg", "-S", "/bin/bash"); got != "bash: /bin/bash\n" {
			t.Errorf("merged %v: owner of /bin/bash: %s", merged, got)
		}
	}
}

// The names of a hard-linked file stay one file, a base package's conffile among them.
func TestHardLinksInARoot(t *testing.T) {
	f := newFixture(t, testarchive.Package{Name: "links", Scripts: map[string]string{"conffiles": "/etc/c\n"}, Files: []testarchive.File{
		{Name: "usr/bin/a", Body: "a"}, {Name: "usr/bin/b", Hard: "usr/bin/a"}, {Name: "usr/bin/c", Hard: "usr/bin/b"},
		{Name: "etc/c", Body: "c"}, {Name: "etc/d", Hard: "etc/c"},
	}})
	tree := f.made(suites.Rules{RootOrderMod: 65521})
	if got := f.in(tree, "/usr/bin/stat", "-c", "%h", "/usr/bin/a", "/usr/bin/b", "/usr/bin/c", "/etc/c", "/etc/d"); got != "3\n3\n3\n2\n2\n" {
		t.Errorf("names of each file: %q", got)
	}
}

// otherDay ages what a container's command has left: files two years into the future, shadow's days too.
type otherDay struct {
	unshareExecutor
	began time.Time
}

func (o otherDay) Exec(ctx context.Context, c Command) (int, error) {
	status, err := o.unshareExecutor.Exec(ctx, c)
	werr := filepath.WalkDir(c.Dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		fi, err := d.Info()
		if err != nil || fi.ModTime().Before(o.began) {
			return err
		}
		return os.Chtimes(p, time.Time{}, fi.ModTime().AddDate(2, 0, 0))
	})
	name := filepath.Join(c.Dir, "etc/shadow")
	if b, e := os.ReadFile(name); e == nil {
		today, then := fmt.Sprint(o.began.Unix()/86400), fmt.Sprint(o.began.AddDate(2, 0, 0).Unix()/86400)
		werr = errors.Join(werr, os.WriteFile(name, []byte(strings.ReplaceAll(string(b), ":"+today+":", ":"+then+":")), 0o640))
	}
	return status, errors.Join(err, werr)
}

// A root built on another day is the same to the bit.
func TestInstallOnAnotherDay(t *testing.T) {
	dated := testarchive.Package{Name: "dated", Scripts: map[string]string{"postinst": `#!/bin/sh
set -e
echo "root:*:$(( $(date +%s) / 86400 )):0:99999:7:::" > /etc/shadow
chmod 640 /etc/shadow
date > /var/log/alternatives.log
mkdir -p /var/lib/made; echo x > /var/lib/made/f; touch -d @1000000000 /var/lib/made/old
`}}
	f := newFixture(t, dated)
	var roots [2][]string
	for i := range roots {
		tree, _, err := f.install(t.Context(), func(o *InstallOptions) {
			if i == 1 {
				o.Exec = otherDay{began: time.Now().Truncate(time.Second)}
			}
		})
		if err != nil {
			t.Fatalf("%v\n%s", err, &f.logs)
		}
		roots[i] = describe(t, tree)
		if b, _ := os.ReadFile(filepath.Join(tree, "etc/shadow")); string(b) != fmt.Sprintf("root:*:%d:0:99999:7:::\n", testarchive.Epoch.Unix()/86400) {
			t.Errorf("shadow: %q", b)
		}
	}
	if d := cmp.Diff(roots[0], roots[1]); d != "" {
		t.Errorf("today's root (-) and the one of two years on (+):\n%s", d)
	}
}

// What the first script finds, though the packages that make it come later: the library cache, awk, a time
// zone and an fstab. The links are the packages' own to replace.
func TestPreparedBeforeScripts(t *testing.T) {
	f := newFixture(t,
		required(testarchive.Package{Name: "aa-first", Scripts: map[string]string{"preinst": `#!/bin/sh
set -e
{ cat /etc/fstab; readlink /etc/localtime /usr/bin/awk; test -s /etc/ld.so.cache && echo cached; } > /etc/seen-first
`}}),
		required(testarchive.Package{Name: "mawk", Files: []testarchive.File{{Name: "usr/bin/mawk", Body: "#!/bin/sh\n"}},
			Scripts: map[string]string{"postinst": "#!/bin/sh\nset -e\nln -sf /etc/alternatives/awk /usr/bin/awk\n"}}))
	tree := f.made(suites.Rules{RootOrderMod: 65521})
	f.holds(tree, map[string]string{
		"etc/seen-first": "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n/usr/share/zoneinfo/UTC\nmawk\ncached\n",
		"etc/fstab":      "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n",
	})
	if to, err := os.Readlink(filepath.Join(tree, "usr/bin/awk")); to != "/etc/alternatives/awk" {
		t.Errorf("awk is a link to %q, %v", to, err)
	}
}
