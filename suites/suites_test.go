package suites

import (
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

func load(t testing.TB, extra ...fs.FS) *Set {
	t.Helper()
	s, err := Load(extra...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEmbedded(t *testing.T) {
	s := load(t)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	for want := range strings.FieldsSeq(`jessie stretch buster bullseye bookworm trixie forky sid
		trusty utopic vivid wily xenial yakkety zesty artful bionic cosmic disco eoan focal groovy hirsute impish
		jammy kinetic lunar mantic noble oracular plucky questing resolute stonking`) {
		su, err := s.Lookup(want)
		if err != nil {
			t.Fatal(err)
		}
		for _, arch := range []string{"amd64", "arm64"} {
			for _, p := range append([]Pocket{{Name: "release"}}, su.Pockets...) {
				po, ok := su.Pocket(p.Name)
				first, others := su.Hosts(po, arch)
				if !ok || len(first) != 1 || len(others) != 1 && want != "sid" {
					t.Errorf("%s %s: %s is at %q, else at %q", want, arch, p.Name, first, others)
				}
			}
		}
		if _, ok := su.Pocket("security"); !ok && want != "sid" {
			t.Errorf("%s has no security pocket", want)
		}
	}
	if n := len(s.All()); n != len(s.names) {
		t.Errorf("All gives %d suites of %d files", n, len(s.names))
	}
}

func TestRules(t *testing.T) {
	s := load(t)
	for _, c := range []struct {
		suite, variant string
		merged, staged bool
	}{
		{"jessie", "minbase", false, true}, {"stretch", "minbase", false, true}, {"stretch", "buildd", false, true},
		{"buster", "minbase", true, true}, {"buster", "buildd", false, true},
		{"bullseye", "minbase", true, false}, {"bullseye", "buildd", false, false},
		{"forky", "buildd", true, false}, {"sid", "minbase", true, false},
		{"trusty", "minbase", false, true}, {"artful", "minbase", false, true}, {"cosmic", "minbase", false, false},
		{"disco", "minbase", true, false}, {"focal", "buildd", true, false},
		{"hirsute", "minbase", true, false}, {"hirsute", "buildd", false, false}, {"impish", "buildd", true, false},
		{"xenial", "minbase", false, true},
		{"bionic", "minbase", false, false},
		{"bionic", "-", false, true},
		{"bookworm", "minbase", true, false},
		{"bookworm", "buildd", false, false},
		{"bookworm", "important", true, true},
		{"trixie", "buildd", true, false},
		{"trixie", "-", true, true},
	} {
		su, err := s.Lookup(c.suite)
		if err != nil {
			t.Fatal(err)
		}
		if su.Rules.MergedFor(c.variant) != c.merged || su.Rules.StagedFor(c.variant) != c.staged {
			t.Errorf("%s %s: merged %v, staged %v", c.suite, c.variant, !c.merged, !c.staged)
		}
	}
}

// TestRulesByAge: what follows from the age of a suite alone.
func TestRulesByAge(t *testing.T) {
	before := func(su Suite, debian, ubuntu string) bool { // is older than
		limit := map[string]string{"debian": debian, "ubuntu": ubuntu}[su.Family]
		return su.Version != "" && fmt.Sprintf("%05s", su.Version) < fmt.Sprintf("%05s", limit)
	}
	for _, su := range load(t).All() {
		r := su.Rules
		for _, c := range []struct {
			rule      string
			got, want bool
		}{
			{"apt-transport-https", slices.Contains(r.HTTPSPackages, "apt-transport-https"), before(su, "10", "17.10")},
			{"root-order-mod 8191", r.RootOrderMod == 8191, before(su, "11", "20.10")},
			{"usrmerge is no dependency", slices.Contains(r.DropDepends, "usrmerge"), su.Family == "debian" && !before(su, "12", "")},
			{"usr-is-merged", slices.Contains(r.ExtraRequired, "usr-is-merged"), su.Codename == "bookworm"},
			{"initctl", r.Initctl, su.Family == "ubuntu"},
			{"unmerged", r.Merged == "no", before(su, "10", "19.04")},
			{"devfsd", r.Devfsd, before(su, "10", "18.04")},
			{"makedev's nodes", r.DeviceTable != "", su.Family == "ubuntu" && before(su, "", "18.04")},
			{"archive hosts", len(su.Archives) > 0, su.Codename != "sid"},
		} {
			if c.got != c.want {
				t.Errorf("%s: %s is %v", su.Codename, c.rule, c.got)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	s := load(t)
	if su, err := s.Lookup("18.04"); err != nil || su.Codename != "bionic" {
		t.Errorf("18.04: %q, %v", su.Codename, err)
	}
	for _, c := range []struct{ name, want string }{
		{"binoic", "bionic"}, {"bionik", "bionic"}, {"boinic", "bionic"}, {"bookwrom", "bookworm"},
		{"trixi", "trixie"}, {"xenal", "xenial"}, {"1804", "18.04"}, {"Trixie", "trixie"},
	} {
		_, err := s.Lookup(c.name)
		var u *UnknownSuite
		if !errors.As(err, &u) || len(u.Near) == 0 || u.Near[0] != c.want {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !strings.Contains(err.Error(), "did you mean "+c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, name := range []string{"", "warty", "../bionic", "x", "/etc/passwd", strings.Repeat("b", 1<<20)} {
		_, err := s.Lookup(name)
		var u *UnknownSuite
		if !errors.As(err, &u) || len(u.Near) > 0 {
			t.Errorf("%.20q: %.200v", name, err)
		}
	}
}

const minimal = `
codename = "mine"
family = "debian"
title = "Mine"
keyrings = ["mine.gpg"]
[mirrors]
default = ["http://archive.example/debian"]
[rules]
merged = "yes"
root-order-mod = 65521
`

func TestOwn(t *testing.T) {
	own := fstest.MapFS{
		"mine.toml":           {Data: []byte(minimal)},
		"bionic.toml":         {Data: []byte(strings.Replace(minimal, `"mine"`, `"bionic"`, 1))},
		"keyrings/mine.gpg":   {Data: []byte("key")},
		"notes.txt":           {Data: []byte("not a suite")},
		"keyrings/ubuntu.gpg": {Data: []byte("other")},
	}
	s := load(t, own)
	su, err := s.Lookup("mine")
	if err != nil {
		t.Fatal(err)
	}
	if k, err := s.Keyring(su); err != nil || len(k) != 1 || string(k[0]) != "key" {
		t.Errorf("keyring %q, %v", k, err)
	}
	if !slices.Equal(su.Components, []string{"main"}) {
		t.Errorf("components %q", su.Components)
	}
	if su, err := s.Lookup("bionic"); err != nil || su.Title != "Mine" {
		t.Errorf("own bionic: %q, %v", su.Title, err)
	}
	if _, err := load(t, os.DirFS(t.TempDir()+"/absent")).Lookup("bionic"); err != nil {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ summary, from, to, want string }{
		{"unknown key", "[rules]", "[rules]\nmergd = 1", "line 9, column 1: unknown key rules.mergd"},
		{"wrong type", `title = "Mine"`, "title = 3", "line 4"},
		{"syntax", `title = "Mine"`, "title = ", "line 4"},
		{"stem", `codename = "mine"`, `codename = "other"`, "line 2: codename \"other\": want the file's name"},
		{"family", `"debian"`, `"suse"`, "mine.toml: line 3: family"},
		{"merged", `"yes"`, `"maybe"`, "line 9: rules.merged"},
		{"mod", "65521", "7", "line 10: rules.root-order-mod"},
		{"password", "http://", "http://u:p@", "line 7: a mirror of default is not a plain http"},
		{"archive's password", "[rules]", "[archive-mirrors]\narm64 = [\"http://u:p@x/\"]\n[rules]", "line 9: a mirror of arm64 is not a plain http"},
		{"role", "title", "role = \"mine\"\ntitle", "line 4: role"},
		{"options", "debian\"]", "debian [trusted=yes]\"]", "not a plain http"},
		{"keyring path", "mine.gpg", "../mine.gpg", "keyring"},
		{"eol", "[mirrors]", "eol = \"2020-13-01\"\n[mirrors]", "unknown key"},
		{"eol date", `title = "Mine"`, "title = \"Mine\"\neol = \"2020-13-01\"", "eol"},
		{"alias", `title = "Mine"`, "title = \"Mine\"\naliases = [\"a/b\"]", "suite name"},
		{"pocket twice", "[rules]", "[[pockets]]\nname=\"u\"\nsuite=\"u\"\n[[pockets]]\nname=\"u\"\nsuite=\"u\"\n[rules]", "stands twice"},
	} {
		text := strings.Replace(minimal, c.from, c.to, 1)
		if c.summary == "eol" { // a key under the wrong table
			text = strings.Replace(minimal, "[rules]", "[rules]\neol = \"2020-01-01\"", 1)
		}
		_, err := load(t, fstest.MapFS{"mine.toml": {Data: []byte(text)}}).Lookup("mine")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
	big := fstest.MapFS{"mine.toml": {Data: []byte(minimal + strings.Repeat("#\n", maxSuiteFile))}}
	if _, err := load(t, big).Lookup("mine"); err == nil {
		t.Error("a huge file was read")
	}
}

// TestKeys holds the keys that are trusted out of the box.
func TestKeys(t *testing.T) {
	s := load(t)
	for suite, want := range map[string][]string{
		"bionic": {
			"790BC7277767219C42C86F933B4FE6ACC0B21F32", "843938DF228D22F7B3742BC0D94AA3F0EFE21092",
			"F6ECB3762474EDA9D21B7022871920D1991BC93C",
		},
		"bookworm": {
			"04B54C3CDCA79751B16BC6B5225629DF75B188BD", "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0",
			"1F89983E0081FDE018F3CC9673A4F27B8DD47936", "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
			"4D64FEC119C2029067D6E791F8D2585B8783D481", "5E04A1E3223A19A20706E20F9904613D4CCE68C6",
			"A4285295FC7B1A81600062A9605C66F00D6C9793", "AC530D520F2F3269F5E98313A48449044AAD5C5D",
			"B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
		},
		"stretch": {
			"04B54C3CDCA79751B16BC6B5225629DF75B188BD", "05AB90340C0C5E797F44A8C8254CF3B5AEC0A8F0",
			"067E3C456BAE240ACEE88F6FEF0F382A1A7B6500", "126C0D24BD8A2942CC7DF8AC7638D0442B90D010",
			"1F89983E0081FDE018F3CC9673A4F27B8DD47936", "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
			"4D64FEC119C2029067D6E791F8D2585B8783D481", "5E04A1E3223A19A20706E20F9904613D4CCE68C6",
			"5E61B217265DA9807A23C5FF4DFAB270CAA96DFA", "6D33866EDD8FFA41C0143AEDDCC9EFBF77E11517",
			"6ED6F5CB5FA6FB2F460AE88EEDA0D2388AE22BA9", "75DDC3C4A499F1A18CB5F3C8CBF8D6FD518E17E1",
			"80D15823B7FD1561F9F7BCDDDC30D7C23CBBABEE", "A4285295FC7B1A81600062A9605C66F00D6C9793",
			"AC530D520F2F3269F5E98313A48449044AAD5C5D", "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
			"D21169141CECD440F2EB8DDA9D6D8F6BC857C906", "E1CF20DDFFE4B89E802658F1E0B11894F66AEC98",
		},
	} {
		su, err := s.Lookup(suite)
		if err != nil {
			t.Fatal(err)
		}
		files, err := s.Keyring(su)
		if err != nil {
			t.Fatal(err)
		}
		var have []string
		for _, f := range files {
			have = append(have, fingerprints(t, f)...)
		}
		slices.Sort(have)
		if !slices.Equal(have, want) {
			t.Errorf("%s trusts\n%s\nwant\n%s", suite, strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestRemovedKeys: what Debian has removed from its keyring signs no suite that is alive.
func TestRemovedKeys(t *testing.T) {
	for _, su := range load(t).All() {
		if got := slices.Contains(su.Keyrings, "debian-removed.gpg"); got != (su.Archived && su.Family == "debian") {
			t.Errorf("%s: removed keys are trusted: %v", su.Codename, got)
		}
	}
}

// fingerprints lists a binary keyring's primary keys: RFC 4880, 4.2 and 12.2.
func fingerprints(t *testing.T, b []byte) (all []string) {
	t.Helper()
	for len(b) > 0 {
		tag, n, head := b[0]>>2&15, 0, 0
		switch {
		case b[0]&0xc0 == 0x80 && b[0]&3 == 0:
			n, head = int(b[1]), 2
		case b[0]&0xc0 == 0x80 && b[0]&3 == 1:
			n, head = int(binary.BigEndian.Uint16(b[1:])), 3
		default:
			t.Fatalf("packet header %#x: not an old one of one or two bytes of length", b[0])
		}
		body := b[head : head+n]
		b = b[head+n:]
		if tag != 6 {
			continue
		}
		h := sha1.New()
		h.Write([]byte{0x99, byte(n >> 8), byte(n)})
		h.Write(body)
		all = append(all, fmt.Sprintf("%X", h.Sum(nil)))
	}
	return all
}

func TestEnded(t *testing.T) {
	su := Suite{EOL: "2023-05-31"}
	for day, want := range map[string]bool{"2023-05-31": false, "2023-06-01": true} {
		now, _ := time.Parse(time.DateOnly, day)
		if su.Ended(now) != want {
			t.Errorf("%s: ended %v", day, !want)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for b.Loop() {
		if _, err := load(b).Lookup("bionic"); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzSuite(f *testing.F) {
	f.Add([]byte(minimal))
	for _, n := range []string{"xenial", "bookworm"} {
		b, err := embedded.ReadFile(n + ".toml")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Load(fstest.MapFS{"mine.toml": {Data: b}})
		if err != nil {
			t.Fatal(err)
		}
		su, err := s.Lookup("mine")
		if err != nil {
			return
		}
		for _, u := range slices.Concat(slices.Concat(slices.Collect(maps.Values(su.Mirrors))...), slices.Concat(slices.Collect(maps.Values(su.Archives))...)) {
			if p, err := url.Parse(u); err != nil || p.User != nil || p.Scheme != "http" && p.Scheme != "https" {
				t.Fatalf("accepted mirror %q", u)
			}
		}
		for _, k := range su.Keyrings {
			if path.Base(k) != k || k == ".." {
				t.Fatalf("accepted keyring %q", k)
			}
		}
	})
}

// A file that never ends, or waits for a writer, is refused by its name, and the other suites can still be had.
func TestIrregularFiles(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "keyrings"), 0o755), syscall.Mkfifo(filepath.Join(dir, "pipe.toml"), 0o600),
		syscall.Mkfifo(filepath.Join(dir, "keyrings", "pipe.gpg"), 0o600), os.Symlink("/dev/zero", filepath.Join(dir, "zero.toml"))); err != nil {
		t.Fatal(err)
	}
	set, err := Load(Folder{FS: os.DirFS(dir), Name: dir})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "zero"} {
		if _, err := set.Lookup(name); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, name+".toml")+": not a regular file") {
			t.Errorf("%s: %v", name, err)
		}
	}
	su, err := set.Lookup("stable")
	if err != nil {
		t.Fatal(err)
	}
	su.Keyrings = []string{"pipe.gpg"}
	if _, err := set.Keyring(su); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("keyring: %v", err)
	}
}
