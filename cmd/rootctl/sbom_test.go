package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/package-url/packageurl-go"

	"github.com/rootctl/rootctl/internal/sbom/sbomtest"
)

// listed is what the tests read of a bill of materials.
type listed struct {
	Metadata struct {
		Component  struct{ Name, Version string }
		Properties []struct{ Name, Value string }
	}
	Components []listedPackage
}

type listedPackage struct {
	Name, Version, PURL string
	Hashes              []struct{ Alg, Content string }
}

func (l *listed) origin() string {
	for _, p := range l.Metadata.Properties {
		if p.Name == "rootctl:origin" {
			return p.Value
		}
	}
	return ""
}

// checkSbom: the bill of a root is valid, and lists what dpkg-query lists inside, hashed of them with the digest of a .deb.
func (r *real) checkSbom(t *testing.T, name string, hashed int) (l listed) {
	t.Helper()
	text := r.must(t, "sbom", name)
	s, err := sbomtest.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check([]byte(text)); err != nil {
		t.Errorf("sbom of %s: %v", name, err)
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range l.Components {
		p, err := packageurl.FromString(c.PURL)
		if err != nil || p.Type != "deb" || p.Namespace != l.Metadata.Component.Name || p.Name != c.Name || p.Version != c.Version {
			t.Errorf("%s %s: %s, %v", c.Name, c.Version, c.PURL, err)
		}
		q := p.Qualifiers.Map()
		if v := l.Metadata.Component.Version; v != "" && q["distro"] != p.Namespace+"-"+v {
			t.Errorf("%s: distro of %s", c.PURL, v)
		}
		source, version, _ := strings.Cut(q["upstream"], "@")
		got = append(got, fmt.Sprintf("%s %s %s %s %s", c.Name, c.Version, q["arch"], source, version))
		for _, h := range c.Hashes {
			if h.Alg == "SHA-256" && len(h.Content) == 64 {
				hashed--
			}
		}
	}
	want := strings.Split(strings.TrimSpace(r.must(t, "run", "-q", name, "--", "dpkg-query", "-W", "-f",
		"${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n")), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sbom of %s lists\n%s\ndpkg-query\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if hashed != 0 {
		t.Errorf("sbom of %s: %d digests of packages are missing", name, hashed)
	}
	if again := r.must(t, "sbom", name); again != text {
		t.Errorf("sbom of %s: another one the second time", name)
	}
	return l
}

// TestSbom: of roots that were built, are not verified, came from a file, or were changed in a container.
func TestSbom(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	t.Setenv("ROOTCTL_STATE", filepath.Join(t.TempDir(), "state", "containers"))
	f := newFixture(t)
	r := &real{f, filepath.Join(t.TempDir(), "cache")}
	f.build(t, r.dir)
	count := func(name string) int {
		var s shown
		if err := json.Unmarshal([]byte(r.must(t, "show", "--json", name)), &s); err != nil {
			t.Fatal(err)
		}
		return len(s.List)
	}
	l := r.checkSbom(t, "fixture", count("fixture"))
	if l.Metadata.Component.Name != "ubuntu" || l.Metadata.Component.Version != "18.04" || !strings.Contains(l.origin(), "signatures were checked") {
		t.Errorf("%+v", l.Metadata)
	}
	tar := filepath.Join(t.TempDir(), "x.tar")
	r.must(t, "export", "fixture", "-o", tar)
	r.must(t, "import", tar, "--tag", "moved") // the same bytes: the build's record counts for more by digest, the name's is the import's
	if l := r.checkSbom(t, "moved", 0); !strings.HasPrefix(l.origin(), "imported: the list is the root's own word") {
		t.Errorf("%+v", l.Metadata)
	}
	r.must(t, "run", "--keep", "--name", "work", "fixture", "--", "sh", "-c",
		`printf '\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1:2\nArchitecture: all\nMaintainer: a <a@b>\nDescription: x\n' >> /var/lib/dpkg/status`)
	r.must(t, "commit", "work", "changed")
	l = r.checkSbom(t, "changed", 0)
	if !strings.HasPrefix(l.origin(), "committed") || !slices.ContainsFunc(l.Components, func(c listedPackage) bool { return c.Name == "gone" }) {
		t.Errorf("%+v", l.Metadata)
	}
}
