package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// stretchNames are the packages of a real stretch minbase.
func stretchNames(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../testdata/stretch-slim-names.txt")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "#") {
			names = append(names, strings.TrimSpace(line))
		}
	}
	return names
}

// The dates of the fixture: signed while its key was good, long past now.
var (
	stretchSigned  = time.Date(2020, 7, 18, 10, 0, 0, 0, time.UTC)
	stretchKeyEnds = time.Date(2021, 4, 1, 0, 0, 0, 0, time.UTC)
	stretchMade    = time.Date(2013, 4, 1, 0, 0, 0, 0, time.UTC)
)

// stretchArchive has stretch's shape and xenial's packages, bytes and all: those of a stretch minbase that
// xenial has by the same name are required, and what they and apt need comes by dependency. Stretch's
// dpkg (1.18), members (control.tar.gz; data.tar in xz and gz) and unmerged /usr are xenial's, too.
func stretchArchive(t *testing.T) *testarchive.Archive {
	t.Helper()
	xenial := openReal(t, "xenial")
	a := testarchive.New("stretch")
	a.Origin, a.Label, a.Codename = "Debian", "Debian", "stretch"
	a.Release = map[string]string{"Suite": "oldoldstable", "Version": "9.13", "Description": "Debian 9.13"}
	a.Arches = []string{xenial.arch, "all", "arm64", "armel", "armhf", "i386", "mips"}
	a.Components = []string{"main", "contrib", "non-free"}
	a.ByHash, a.NoPlain, a.NoInline = false, true, true
	a.Date, a.ValidUntil = stretchSigned, stretchSigned.AddDate(0, 0, 7)
	a.Key = testarchive.NewKeyWith(testarchive.KeyOptions{Name: "stretch", RSA: 2048, Created: stretchMade, Expires: stretchKeyEnds, Subkey: true})
	names := stretchNames(t)
	byApt := []string{"adduser", "apt", "gpgv", "libapt-pkg5.0", "libstdc++6"} // not required, but for apt
	var gz, xz int
	for _, p := range xenial.closure(t, append(names, "file")) {
		d := xenial.fetch(t, p)
		d.Control["Priority"] = "optional"
		if slices.Contains(names, p.Name) && !slices.Contains(byApt, p.Name) {
			d.Control["Priority"] = "required"
		}
		gz += bytes.Count(d.Raw, []byte("data.tar.gz "))
		xz += bytes.Count(d.Raw, []byte("data.tar.xz "))
		a.Add(d)
	}
	if gz == 0 || xz == 0 {
		t.Errorf("%d packages have gz members, %d xz: both are wanted", gz, xz)
	}
	t.Logf("%d packages of xenial, %d with gz, %d with xz", len(a.Packages()), gz, xz)
	return a
}

// TestRealStretchShape builds stretch, by its own suite file, from an archive of its shape.
func TestRealStretchShape(t *testing.T) {
	r := newReal(t)
	a := stretchArchive(t)
	server := a.Serve(t)
	flags := []string{"--mirror", server.URL, "--only-mirror", "--keyring", keyFile(t, a.Key)}

	t.Run("built", func(t *testing.T) {
		out, errs, code := r.rootctl(t, append(append([]string{"build"}, flags...), "--tag", "stretch-shape", "stretch")...)
		if code != 0 {
			t.Fatalf("exit code %d\n%s%s", code, out, errs)
		}
		for _, want := range []string{"a key that has expired since", "valid until 2020-07-25", "of 2020-07-18"} {
			if !strings.Contains(errs, want) {
				t.Errorf("does not say %q:\n%s", want, errs)
			}
		}
		t.Log(errs)
		if n := server.Count("by-hash"); n > 0 || server.Count("dists/stretch/Release.gpg") == 0 {
			t.Errorf("requests: %v", server.Requests())
		}
		checkStretch(t, r, "stretch-shape")
	})
	t.Run("again", func(t *testing.T) {
		b := r.buildSuite(t, append(flags, "--tag", "stretch-shape", "stretch")...)
		if !b.Cached || len(b.Exceptions) != 3 {
			t.Errorf("second build: %+v", b)
		}
	})
	t.Run("apt inside", func(t *testing.T) {
		r.buildSuite(t, append(flags, "--keep-mirror", "--tag", "stretch-kept", "stretch")...)
		checkAptInside(t, r, "stretch-kept")
	})
	t.Run("refused", func(t *testing.T) { stretchRefused(t, r, a, server, flags) })
}

// keyFile writes public keys to a file for --keyring.
func keyFile(t *testing.T, keys ...*testarchive.Key) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys.gpg")
	var all []byte
	for _, k := range keys {
		all = append(all, k.Public()...)
	}
	if err := os.WriteFile(name, all, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// checkStretch is what must hold in any stretch minbase.
func checkStretch(t *testing.T, r *real, name string) {
	t.Helper()
	r.must(t, "run", name, "--", "sh", "-c", consistent)
	out := r.must(t, "run", name, "--", "sh", "-c", `set -e
for d in bin sbin lib; do test -d /$d; test ! -L /$d; done
test -z "$(dpkg-query -W -f '${db:Status-Abbrev}\n' | grep -v '^ii ')"
test ! -e /etc/unsupported-skip-usrmerge-conversion
for p in makedev usr-is-merged usrmerge; do test ! -e /var/lib/dpkg/info/$p.list; done
echo $(readlink /bin/sh) $(grep -c ':0:99999:7:::$' /etc/shadow) $(ls /dev | wc -w) $(dpkg --version | head -1)`)
	f := strings.Fields(out)
	if len(f) < 3 || f[0] != "dash" || f[1] == "0" || !strings.Contains(out, "1.18.") {
		t.Errorf("inside: %s", out)
	}
}

// checkAptInside has apt in a root of an archived suite read its indices, and install something.
func checkAptInside(t *testing.T, r *real, name string) {
	t.Helper()
	out, errs, code := r.rootctl(t, "run", "--net=host", name, "--", "sh", "-c", `set -e
apt-get update -o Acquire::Retries=3
apt-get install -qq -y --no-install-recommends file >/dev/null 2>&1
file -b /bin/sh`)
	if code != 0 || !strings.Contains(out, "symbolic link to dash") || strings.Contains(out+errs, "E: ") {
		t.Errorf("apt inside: exit code %d\n%s%s", code, out, errs)
	}
	t.Log(out + errs)
}

// stretchRefused serves the same packages signed otherwise.
func stretchRefused(t *testing.T, r *real, a *testarchive.Archive, server *testarchive.Server, flags []string) {
	good := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "good", Created: stretchMade})
	both := keyFile(t, a.Key, good)
	was := *a
	for _, tt := range []struct {
		summary string
		change  func()
		suite   string
		code    int
		says    string
		silent  string // must not be said
	}{
		{"for a suite that is not archived", func() {
			a.Suite, a.Codename, a.Release = "trixie", "trixie", map[string]string{"Suite": "stable"}
		}, "trixie", codeUntrusted, "key expired on 2021-04-01", ""},
		{"for a suite that is not archived, signed well", func() {
			a.Suite, a.Codename, a.Release, a.Signers = "trixie", "trixie", map[string]string{"Suite": "stable"}, []*testarchive.Key{good}
		}, "trixie", codeUntrusted, "--allow-expired", ""},
		{"signed after the key's end", func() { a.SignedAt = stretchKeyEnds.AddDate(0, 0, 1) }, "stretch", codeUntrusted, "before the signature was made", ""},
		{"a byte of Release changed", func() {
			text := strings.Replace(string(a.Files()["dists/stretch/Release"]), "Version: 9.13", "Version: 9.31", 1)
			a.Overlay = map[string][]byte{"dists/stretch/Release": []byte(text)}
		}, "stretch", codeUntrusted, "bad signature", ""},
		{"Release.gpg gone", func() { a.Overlay = map[string][]byte{"dists/stretch/Release.gpg": nil} }, "stretch", codeUntrusted, "signed", ""},
		{"signed again by a good key", func() { a.Signers = []*testarchive.Key{good} }, "stretch", 0, "valid until", "expired since"},
		{"signed by the good key beside", func() { a.Signers = []*testarchive.Key{a.Key, good} }, "stretch", 0, "valid until", "expired since"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			tt.change()
			defer func() { *a = was; server.Set(a) }()
			server.Set(a)
			args := append([]string{"build"}, flags[:4]...)
			_, errs, code := r.rootctl(t, append(args, both, "--tag", "again", tt.suite)...)
			if code != tt.code || !strings.Contains(errs, tt.says) || tt.silent != "" && strings.Contains(errs, tt.silent) {
				t.Errorf("exit code %d, want %d and %q said, %q not:\n%s", code, tt.code, tt.says, tt.silent, errs)
			}
		})
	}
}
