package lockfile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/suites"
)

// lock is one of two packages, and the request that led to it.
func lock() (*debootstrap.Lock, debootstrap.Request) {
	a, b := cache.Digest(strings.Repeat("ab", 32)), cache.Digest(strings.Repeat("cd", 32))
	l := &debootstrap.Lock{Schema: debootstrap.LockSchema, Suite: "bionic", Variant: "minbase", Arch: "amd64", Epoch: "auto",
		Rules: suites.Rules{Merged: "no", RootOrderMod: 8191, StagedVariants: []string{"-"}},
		Releases: []debootstrap.LockRelease{{Pocket: "release", Suite: "bionic", Origin: "Ubuntu", Codename: "bionic", Mirror: "http://near.example/ubuntu",
			Date: time.Date(2018, 4, 26, 23, 37, 48, 0, time.UTC), Digest: a, Signers: []string{"Ubuntu <x@example> " + strings.Repeat("F0", 20), strings.Repeat("0A", 20)},
			Exceptions: []string{"let pass"}}},
		Packages: []debootstrap.LockPackage{
			{Name: "zlib1g", Version: "1:1.2-1", Arch: "amd64", Pocket: "release", Path: "pool/z/z.deb", Size: 5, SHA256: a, Order: 90, Section: "libs", Priority: "optional",
				Stanza: "Package: zlib1g\nVersion: 1:1.2-1\nArchitecture: amd64\nPriority: optional\nSection: libs\nFilename: pool/z/z.deb\nSize: 5\nDescription: <zip> & \"more\"\n second line"},
			{Name: "dpkg", Version: "1.19", Arch: "amd64", Pocket: "release", Path: "pool/d.deb", Size: 3, SHA256: b, Order: 7, Required: true, Priority: "required",
				Stanza: "Package: dpkg\nPriority: required\nVersion: 1.19\nArchitecture: amd64\nFilename: pool/d.deb\nSize: 3\nSHA256: " + string(b)},
		},
		Files: []debootstrap.LockFile{{Path: "/etc/apt/sources.list", Mode: 0o644, Content: "deb x\n"}}}
	return l, debootstrap.Request{Components: []string{"main"}, Include: []string{"curl"}, Pockets: []string{"release", "updates"}}
}

func encoded(t *testing.T) []byte {
	t.Helper()
	r, err := FromLock(lock())
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(File{Roots: map[string]Root{Name(r.Suite, r.Variant, r.Arch): r}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What comes back is the same root by its key, and writing it again gives the same bytes.
func TestRoundTrip(t *testing.T) {
	l, _ := lock()
	text := encoded(t)
	f, err := Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Encode(f); err != nil || !bytes.Equal(again, text) {
		t.Errorf("written again: %v\n%s", err, cmp.Diff(string(text), string(again)))
	}
	r := f.Roots["bionic:amd64"]
	got, err := r.Lock()
	if err != nil {
		t.Fatal(err)
	}
	l.Packages[0], l.Packages[1] = l.Packages[1], l.Packages[0] // in index order
	if debootstrap.KeyOf(got) != debootstrap.KeyOf(l) {
		t.Error("the key is another")
	}
	l.Packages[0].Order, l.Packages[1].Order = 0, 1
	l.Releases[0].Mirror, l.Releases[0].Exceptions = "", nil
	l.Releases[0].Signers = []string{strings.Repeat("0A", 20), strings.Repeat("F0", 20)}
	if d := cmp.Diff(l, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if d := cmp.Diff(Request{Components: []string{"main"}, Include: []string{"curl"}, Pockets: []string{"updates"}}, r.Request); d != "" {
		t.Errorf("request (-want +got)\n%s", d)
	}
}

// Nothing of who wrote it, from where and when is in the file.
func TestSameBytes(t *testing.T) {
	want := encoded(t)
	l, q := lock()
	l.Releases[0].Mirror, l.Releases[0].Exceptions, l.Releases[0].KeysExpired = "https://user:secret@far.example/x", nil, true
	l.Packages[0].Order, l.Packages[1].Order = 12345, 4
	q.Mirrors = []debootstrap.Mirror{{URL: "https://user:secret@far.example/x"}}
	r, err := FromLock(l, q)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Encode(File{Roots: map[string]Root{"bionic:amd64": r}})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(string(want), string(got)))
	}
	for _, word := range []string{"secret", "example/x", "let pass"} {
		if bytes.Contains(want, []byte(word)) || bytes.Contains(got, []byte(word)) {
			t.Errorf("the file holds %q", word)
		}
	}
}

// One package a line, keys in order: a new version changes its line and its lines of the paragraph.
func TestLinesOfADiff(t *testing.T) {
	before := strings.Split(string(encoded(t)), "\n")
	l, q := lock()
	l.Packages[1].Version, l.Packages[1].Stanza = "1.20", strings.Replace(l.Packages[1].Stanza, "1.19", "1.20", 1)
	r, err := FromLock(l, q)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(File{Roots: map[string]Root{"bionic:amd64": r}})
	if err != nil {
		t.Fatal(err)
	}
	changed := 0
	for i, line := range strings.Split(string(text), "\n") {
		if line != before[i] {
			changed++
		}
	}
	if changed != 2 {
		t.Errorf("%d lines changed, want 2", changed)
	}
}

func TestRefused(t *testing.T) {
	good := string(encoded(t))
	for _, tt := range []struct{ summary, old, new, want string }{
		{"cut short", `"schema": 1`, "\x00CUT", "the file ends here"},
		{"empty", good, "", "line 1, column 1: the file ends here"},
		{"no JSON", good, "schema: 1\n", "line 1, column 1: "},
		{"a list", good, "[]", "want an object"},
		{"null", `"schema": 1`, `"schema": null`, "schema: want a whole number"},
		{"another schema", `"schema": 1`, `"schema": 2`, "schema: 2: this rootctl reads 1"},
		{"no schema", ",\n  \"schema\": 1", "", "schema: 0: this rootctl reads 1"},
		{"no roots", good, `{"schema": 1, "roots": {}}`, "roots: want between one root"},
		{"something behind it", good, good + "{}", "something behind the end"},
		{"bytes that are no UTF-8", "bionic", "bi\xffnic", "line 3, column 8: bytes that are no UTF-8"},
		{"unknown field", `"merged": false`, `"merged": false, "hoooks": []`, "roots.bionic:amd64.hoooks: unknown field"},
		{"known field in other letters", `"merged": false`, `"Merged": false`, "Merged: unknown field"},
		{"field twice", `"merged": false`, `"merged": false, "merged": true`, "merged: it stands there twice"},
		{"root twice", `"roots": {`, `"roots": {"bionic:amd64": {}, `, "it stands there twice"},
		{"a string for a number", `"size":3`, `"size":"3"`, "packages[0].size: want a whole number"},
		{"size with a fraction", `"size":3`, `"size":3.5`, "packages[0].size: want a whole number"},
		{"size beyond 64 bits", `"size":3`, `"size":99999999999999999999`, "packages[0].size: want a whole number"},
		{"hostile size", `"size":3`, `"size":9223372036854775807`, "packages[0].size: want between"},
		{"negative size", `"size":3`, `"size":-3`, "packages[0].size: want between"},
		{"path with ..", `"path":"pool/d.deb"`, `"path":"../../etc/shadow"`, "packages[0].path: \"../../etc/shadow\" is no path below a mirror"},
		{"absolute path", `"path":"pool/d.deb"`, `"path":"/etc/shadow"`, "is no path below a mirror"},
		{"package name that is a path", `"name":"dpkg"`, `"name":"../dpkg"`, "packages[0].name: "},
		{"package twice", `"name":"zlib1g"`, `"name":"dpkg"`, "packages[1].name: dpkg stands there twice"},
		{"bad version", `"version":"1.19"`, `"version":"-"`, "packages[0].version: "},
		{"other architecture", `{"arch":"amd64","name":"dpkg"`, `{"arch":"i386","name":"dpkg"`, "packages[0].arch: "},
		{"pocket without a release", `"pocket":"release","required"`, `"pocket":"proposed","required"`, "packages[0].pocket: "},
		{"short digest", `"sha256":"cdcd`, `"sha256":"cd`, "packages[0].sha256: no SHA-256"},
		{"digest by hand", `"sha256":"cdcd`, `"sha256":"cdce`, "paragraphs.dpkg: SHA256 is "},
		{"version by hand", `"version":"1.19"`, `"version":"1.20"`, "paragraphs.dpkg: Version is \"1.19\" there, and \"1.20\" in packages"},
		{"paragraph of another package", `"Package: dpkg"`, `"Package: bash"`, "paragraphs.dpkg: Package is"},
		{"two paragraphs", `"Package: dpkg",`, `"Package: dpkg", "",`, "paragraphs.dpkg[1]: want one line"},
		{"a line that is two", `"Package: dpkg"`, `"Package: dpkg\n\nPackage: evil"`, "paragraphs.dpkg[0]: want one line"},
		{"no field", `"Package: dpkg"`, `"Package dpkg"`, "paragraphs.dpkg: "},
		{"paragraph too many", `"paragraphs": {`, `"paragraphs": {"evil": ["Package: evil"],`, "paragraphs.evil: there is no such package"},
		{"file outside", `"path": "/etc/apt/sources.list"`, `"path": "/../../etc/passwd"`, "files[0].path: "},
		{"setuid file", `"mode": "0644"`, `"mode": "4755"`, "files[0].mode: "},
		{"variant", `"variant": "minbase"`, `"variant": "huge"`, "variant: \"huge\""},
		{"suite that is a path", `"suite": "bionic",
      "variant"`, `"suite": "../bionic",
      "variant"`, "suite: \"../bionic\" is no name"},
		{"epoch", `"epoch": "auto"`, `"epoch": "-1"`, "epoch: "},
		{"epoch beyond the last second", `"epoch": "auto"`, `"epoch": "9223372036854775807"`, "epoch: "},
		{"hash table of size zero", `"root_order_mod": 8191`, `"root_order_mod": 0`, "rules.root_order_mod: 0"},
		{"unknown rule", `"root_order_mod"`, `"root_order"`, "rules.root_order: unknown field"},
		{"date", `"2018-04-26T23:37:48Z"`, `"yesterday"`, "releases[0].date: want a time"},
		{"signer", `"0A0A`, `"\u001b[2J`, "releases[0].signers[0]: "},
		{"origin with an escape", `"origin": "Ubuntu"`, `"origin": "\u001b[2J"`, "releases[0]: "},
		{"verified by nobody", `"signers": [`, `"unverified": true, "signers": [`, "releases[0].signers: "},
		{"time", `"components": [`, `"at": "2026-03-01", "components": [`, "request.at: "},
		{"name of a root", `"bionic:amd64": {`, `"../x": {`, "roots.../x: not the name of a root"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("%q is not there", tt.old)
			}
			text := strings.Replace(good, tt.old, tt.new, 1)
			text, _, _ = strings.Cut(text, "\x00CUT")
			_, err := Decode([]byte(text))
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || e.Hint() == "" {
				t.Errorf("%v, want ... %s", err, tt.want)
			}
		})
	}
}

// An error names the line and column where the value stands.
func TestPlaceOfAnError(t *testing.T) {
	text := `{"schema": 1,
 "roots": {
  "x:amd64": {"suite": 5}}}`
	_, err := Decode([]byte(text))
	if err == nil || err.Error() != "line 3, column 24: roots.x:amd64.suite: want a string" {
		t.Error(err)
	}
	if _, err := Decode([]byte(strings.Repeat(`{"roots":`, 100000))); err == nil {
		t.Error("nested 100,000 times")
	}
}

func TestFind(t *testing.T) {
	f := File{Roots: map[string]Root{"bionic:amd64": {}, "bionic:i386": {}, "trixie-buildd:arm64": {}, "ci": {}}}
	for name, want := range map[string]string{"bionic": "bionic:amd64", "bionic:i386": "bionic:i386", "trixie-buildd": "trixie-buildd:arm64", "ci": "ci",
		"trixie": "", "bionic:arm64": "", "": ""} {
		if got, ok := f.Find(name, "amd64"); got != want || ok != (want != "") {
			t.Errorf("%s: %s, %v", name, got, ok)
		}
	}
	if got, ok := f.Find("bionic", "s390x"); ok {
		t.Errorf("of two architectures, neither this host's: %s", got)
	}
}

// Whatever Decode takes, Encode writes so that it reads as the same, and a Lock comes of it.
func FuzzDecode(f *testing.F) {
	l, q := lock()
	r, err := FromLock(l, q)
	if err != nil {
		f.Fatal(err)
	}
	text, err := Encode(File{Roots: map[string]Root{"bionic:amd64": r}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"roots":{"a":{}},"schema":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Decode(data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		again, err := Encode(file)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(file, back); d != "" {
			t.Fatal(d)
		}
		for _, r := range file.Roots {
			if _, err := r.Lock(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What a file makes rootctl keep is bounded by more than its length: long names, and elements that are next to nothing.
func TestLockHostileMemory(t *testing.T) {
	long, many := strings.Repeat("N", 100_000), strings.Repeat(`"",`, 5000)
	for _, tt := range []struct{ summary, text, want string }{
		{"long name with a list in it", `{"schema":1,"roots":{"` + long + `":{"request":{"pockets":[` + many + `""]}}}}`, "roots: \"NNN"},
		{"name of two lines", `{"schema":1,"roots":{"x\nroot: evil":{}}}`, `roots: "x\nroot: evil": no name`},
		{"many strings", `{"schema":1,"roots":{"x":{"request":{"pockets":[` + many + `""]}}}}`, "request.pockets["},
		{"many empty packages", `{"schema":1,"roots":{"x":{"packages":[` + strings.Repeat("{},", 1000) + `{}]}}}`, "packages[2"},
		{"many paragraphs", `{"schema":1,"roots":{"x":{"paragraphs":{` + paragraphs(1000) + `}}}}`, "paragraphs.p2"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			_, err := decode([]byte(tt.text), 32<<10)
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 400 || strings.Contains(err.Error(), "\n") {
				t.Errorf("want ... %s: %.600v", tt.want, err)
			}
		})
	}
	if _, err := decode(encoded(t), 32<<10); err != nil {
		t.Errorf("a good one: %v", err)
	}
}

func paragraphs(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"p%d":[]`, i))
	}
	return strings.Join(all, ",")
}
