package suites

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

// TestDocumentedSuites loads exactly what docs/suites.md shows.
func TestDocumentedSuites(t *testing.T) {
	page, err := os.ReadFile("../docs/suites.md")
	if err != nil {
		t.Fatal(err)
	}
	own := fstest.MapFS{}
	want := map[string]string{"kali-rolling": "http://http.kali.org/kali", "excalibur": "http://pkgmaster.devuan.org/merged"}
	for i, part := range strings.Split(string(page), "```toml\n") {
		text, _, ok := strings.Cut(part, "```")
		if i == 0 || !ok {
			continue
		}
		for name := range want {
			if strings.Contains(text, "codename = \""+name+"\"\n") {
				own[name+".toml"] = &fstest.MapFile{Data: []byte(text)}
			}
		}
	}
	if len(own) != len(want) {
		t.Fatalf("the page shows %d of %d suites", len(own), len(want))
	}
	for _, k := range []string{"kali-archive-keyring.gpg", "devuan-archive-keyring.gpg"} {
		own["keyrings/"+k] = &fstest.MapFile{Data: []byte("key")}
	}
	s := load(t, own)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	sid, err := s.Lookup("sid")
	if err != nil {
		t.Fatal(err)
	}
	for name, mirror := range want {
		su, err := s.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := su.MirrorsFor("amd64"); len(m) != 1 || m[0] != mirror {
			t.Errorf("%s: mirrors %q", name, m)
		}
		if keys, err := s.Keyring(su); err != nil || len(keys) != 1 {
			t.Errorf("%s: %d keyrings, %v", name, len(keys), err)
		}
		for _, variant := range []string{"minbase", "buildd", "important"} {
			if su.Rules.MergedFor(variant) != sid.Rules.MergedFor(variant) || su.Rules.StagedFor(variant) != sid.Rules.StagedFor(variant) {
				t.Errorf("%s %s: not made as sid is", name, variant)
			}
		}
	}
	if su, err := s.Lookup("kali"); err != nil || su.Codename != "kali-rolling" {
		t.Errorf("kali: %q, %v", su.Codename, err)
	}
	if su, ok := s.Defaults("debian"); !ok || su.Codename != "sid" {
		t.Errorf("a user's suites changed the family's defaults to %s", su.Codename)
	}
}
