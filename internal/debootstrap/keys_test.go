package debootstrap

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/suites"
)

func keyRequest(t *testing.T) Request {
	t.Helper()
	r, err := Request{Arch: "amd64", Suite: suites.Suite{Codename: "bionic", Family: "ubuntu", Components: []string{"main"},
		Mirrors: map[string][]string{"default": {"http://archive.example/ubuntu"}},
		Pockets: []suites.Pocket{{Name: "updates", Suite: "bionic-updates"}, {Name: "security", Suite: "bionic-security"}},
		Rules:   suites.Rules{Merged: "no", HTTPSPackages: []string{"ca-certificates"}}}}.normalize()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func keyLock(r Request) *Lock {
	digest := cache.Digest(strings.Repeat("ab", 32))
	return r.lock(closure{Packages: []LockPackage{{Name: "dpkg", Version: "1.19", Arch: "amd64", Path: "pool/d.deb", Size: 3, SHA256: digest,
		Required: true, Stanza: "Package: dpkg\nPriority: required", Order: 7}}}, []LockRelease{{Pocket: "release", Mirror: "http://a.example"}})
}

// What a key must not see leaves it alone; what decides the root's bytes changes it.
func TestRootKeyCovers(t *testing.T) {
	base := rootKey(keyLock(keyRequest(t))).Key
	tests := []struct {
		summary string
		change  func(*Request, *Lock)
		same    bool
	}{
		{"another mirror", func(_ *Request, l *Lock) { l.Releases[0].Mirror = "http://b.example" }, true},
		{"another position in the archive's index", func(_ *Request, l *Lock) { l.Packages[0].Order = 9 }, true},
		{"another pool path", func(_ *Request, l *Lock) { l.Packages[0].Path = "pool/main/d.deb" }, true},
		{"resolver rules, which act through the packages", func(_ *Request, l *Lock) { l.Rules.DropDepends = []string{"x"} }, true},
		{"package digest", func(_ *Request, l *Lock) { l.Packages[0].SHA256 = cache.Digest(strings.Repeat("cd", 32)) }, false},
		{"package version", func(_ *Request, l *Lock) { l.Packages[0].Version = "2" }, false},
		{"required or base", func(_ *Request, l *Lock) { l.Packages[0].Required = false }, false},
		{"index paragraph, which lands in the dpkg database", func(_ *Request, l *Lock) { l.Packages[0].Stanza += "\nSection: admin" }, false},
		{"sources.list", func(_ *Request, l *Lock) { l.Files[0].Content = "deb other\n" }, false},
		{"file mode", func(_ *Request, l *Lock) { l.Files[0].Mode = 0o600 }, false},
		{"merged /usr", func(_ *Request, l *Lock) { l.Merged = true }, false},
		{"epoch", func(_ *Request, l *Lock) { l.Epoch = "1" }, false},
		{"variant", func(_ *Request, l *Lock) { l.Variant = "buildd" }, false},
		{"stages", func(_ *Request, l *Lock) { l.Staged = true }, false},
		{"stage rules", func(_ *Request, l *Lock) { l.Rules.StagedVariants = []string{"*"} }, false},
	}
	for _, tt := range tests {
		t.Run(tt.summary, func(t *testing.T) {
			r := keyRequest(t)
			l := keyLock(r)
			tt.change(&r, l)
			if same := rootKey(l).Key == base; same != tt.same {
				t.Errorf("key the same: %v, want %v", same, tt.same)
			}
		})
	}
}

func TestResolveKeyCovers(t *testing.T) {
	index := []indexInput{{"release", "main", "amd64", cache.Digest(strings.Repeat("ab", 32))}}
	base := resolveKey(keyRequest(t), index).Key
	for _, tt := range []struct {
		summary string
		change  func(*Request)
		same    bool
	}{
		{"mirror, keyring and trust", func(r *Request) {
			r.Mirrors = []Mirror{{URL: "http://b.example"}}
			r.Keyring = [][]byte{{1}}
			r.NoVerify = true
		}, true},
		{"include", func(r *Request) { r.Include = []string{"curl"} }, false},
		{"exclude", func(r *Request) { r.Exclude = []string{"apt"} }, false},
		{"variant", func(r *Request) { r.Variant = "buildd" }, false},
		{"an https line in sources.list", func(r *Request) { r.Suite.Mirrors = map[string][]string{"default": {"https://a.example"}} }, false},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			r := keyRequest(t)
			tt.change(&r)
			if same := resolveKey(r, index).Key == base; same != tt.same {
				t.Errorf("key the same: %v, want %v", same, tt.same)
			}
		})
	}
	index[0].SHA256 = cache.Digest(strings.Repeat("cd", 32))
	if resolveKey(keyRequest(t), index).Key == base {
		t.Error("another index gives the same key")
	}
}

// The keys of a given input never change but by a bump of an epoch: a change here empties every cache.
func TestGoldenKeys(t *testing.T) {
	r := keyRequest(t)
	got := map[string]cache.Digest{
		"resolve": resolveKey(r, []indexInput{{"release", "main", "amd64", cache.Digest(strings.Repeat("ab", 32))}}).Key,
		"root":    rootKey(keyLock(r)).Key,
		"request": requestKey(r).Key,
	}
	want := map[string]cache.Digest{
		"resolve": "24368a8b27f39adaac879b75fcf72c33151e39763d553ce8527c80562ac5c8e5",
		"root":    "5cfb9218c79b096720905bdd7a274e0865f135f46935565466f26311823f16cd",
		"request": "63fe78ab435859c7654516cf22a9fe879d63cfde32ae09136e934e40ddcdf8b8",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("keys (-want +got):\n%s", d)
	}
}

func TestSourcesList(t *testing.T) {
	r := keyRequest(t)
	want := "deb http://archive.example/ubuntu bionic main\ndeb http://archive.example/ubuntu bionic-updates main\ndeb http://archive.example/ubuntu bionic-security main\n"
	r.Mirrors = []Mirror{{URL: "https://user:secret@near.example/ubuntu", From: "--mirror"}}
	if d := cmp.Diff(want, r.files(closure{}, nil)[0].Content); d != "" {
		t.Errorf("public mirrors (-want +got):\n%s", d)
	}
	if len(r.extraBase()) != 0 {
		t.Error("an https mirror that is not in sources.list brings ca-certificates")
	}
	r.KeepMirror = true
	r.kept = map[string]string{"release": withoutUser(r.Mirrors[0].URL)}
	want = strings.ReplaceAll(want, "http://archive.example", "https://near.example")
	if d := cmp.Diff(want, r.files(closure{}, nil)[0].Content); d != "" {
		t.Errorf("kept mirror (-want +got):\n%s", d)
	}
	own := r
	own.Mirrors = append(own.Mirrors, Mirror{URL: "http://user:secret@sec.example/ubuntu", Pocket: "security", From: "--mirror"})
	want = strings.Replace(want, "https://near.example/ubuntu bionic-security", "http://sec.example/ubuntu bionic-security", 1)
	if d := cmp.Diff(want, own.files(closure{}, nil)[0].Content); d != "" {
		t.Errorf("kept mirror of one pocket (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"ca-certificates"}, r.extraBase()); d != "" {
		t.Errorf("packages for https (-want +got):\n%s", d)
	}
}
