package main

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// archivedFixture is an archived suite made of a real one's packages, with pockets that hold nothing:
// signed by a key that has expired since, long past its Valid-Until.
func archivedFixture(t *testing.T, from, suite string) (a *testarchive.Archive, serve func() *testarchive.Server) {
	t.Helper()
	r := openReal(t, from)
	set, err := resolve.Resolve(r.index, resolve.Want{Variant: "minbase", Include: []string{"file"}, Arch: r.arch})
	if err != nil {
		t.Fatal(err)
	}
	made := time.Date(2014, 1, 1, 0, 0, 0, 0, time.UTC)
	key := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "old", RSA: 2048, Created: made, Expires: made.AddDate(5, 0, 0), Subkey: true})
	pocket := func(suite string) *testarchive.Archive {
		p := testarchive.New(suite)
		p.Codename, _, _ = strings.Cut(suite, "-")
		p.Origin, p.Label, p.Arches, p.Key = "Ubuntu", "Ubuntu", []string{r.arch}, key
		p.Date = made.AddDate(4, 0, 0)
		p.ValidUntil = p.Date.AddDate(0, 0, 7)
		return p
	}
	a = pocket(suite)
	for _, list := range [][]resolve.Package{set.Required, set.Base} {
		for _, p := range list {
			a.Add(r.fetch(t, p))
		}
	}
	return a, func() *testarchive.Server {
		files := a.Files()
		for _, name := range []string{"-updates", "-security"} {
			p := pocket(suite + name)
			p.Signers = a.Signers
			maps.Copy(files, p.Files())
		}
		server := a.Serve(t)
		server.SetFiles(files, a.Date)
		return server
	}
}

// useApt trusts the archive's keys as the root of an archived suite does, and then uses apt.
const useApt = `cp /keys.gpg /etc/apt/trusted.gpg.d/fixture.gpg; chmod 644 /etc/apt/trusted.gpg.d/fixture.gpg
exec 2>&1; EDIT
apt-get update || { echo "update: $?"; exit 1; }
apt-get install -y file || { echo "install: $?"; exit 2; }
file -b /bin/sh`

// TestRealArchivedApt: apt-get update and install work in a root of an archived suite as it is, with what
// sources.list says and with nothing less.
func TestRealArchivedApt(t *testing.T) {
	r := newReal(t)
	for _, c := range []struct{ from, suite string }{{"xenial", "yakkety"}, {"bionic", "artful"}} { // apt 1.2 and 1.6
		t.Run(c.from, func(t *testing.T) {
			a, serve := archivedFixture(t, c.from, c.suite)
			good := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "good", RSA: 2048, Created: a.Date.AddDate(-1, 0, 0)})
			keys := keyFile(t, a.Key, good)
			build := func(tag string) (said string) {
				t.Helper()
				_, said, code := r.rootctl(t, "build", "--mirror", serve().URL, "--only-mirror", "--keep-mirror", "--keyring", keys, "--tag", tag, c.suite)
				if code != 0 {
					t.Fatalf("exit code %d\n%s", code, said)
				}
				return said
			}
			apt := func(tag, edit string, want int, says string) {
				t.Helper()
				out, errs, code := r.rootctl(t, "run", "--net=host", "--bind", keys+":/keys.gpg:ro", tag, "--", "sh", "-c", strings.Replace(useApt, "EDIT", edit, 1))
				if code != want || !strings.Contains(out, says) || code == 0 && strings.Contains(out, "\nE: ") {
					t.Errorf("%s after %q: exit code %d, want %d and %q\n%s%s", tag, edit, code, want, says, out, errs)
				}
			}
			if said := build("expired"); !strings.Contains(said, "apt inside checks no signatures") {
				t.Errorf("the build does not say so:\n%s", said)
			}
			if list := r.must(t, "run", "expired", "cat", "/etc/apt/sources.list"); strings.Count(list, "deb [check-valid-until=no trusted=yes] http") != 3 || strings.Count(list, "# ") != 3 {
				t.Errorf("sources.list:\n%s", list)
			}
			apt("expired", "", 0, "symbolic link to")
			apt("expired", "sed -i 's/ trusted=yes//' /etc/apt/sources.list", map[string]int{"xenial": 2, "bionic": 1}[c.from], "not signed")
			apt("expired", "sed -i 's/trusted=yes/allow-insecure=yes/' /etc/apt/sources.list", 2, "cannot be authenticated")

			a.Signers = []*testarchive.Key{a.Key, good}
			if said := build("good"); strings.Contains(said, "checks no signatures") {
				t.Errorf("the build says too much:\n%s", said)
			}
			apt("good", "if grep trusted=yes /etc/apt/sources.list; then exit 9; fi", 0, "symbolic link to")
			apt("good", "sed -i 's/check-valid-until=no//' /etc/apt/sources.list", 1, "expired")
			r.must(t, "run", "good", "--", "sh", "-c", consistent)
		})
	}
}
