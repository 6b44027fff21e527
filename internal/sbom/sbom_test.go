package sbom

import (
	"bytes"
	"strings"
	"testing"

	"github.com/package-url/packageurl-go"

	"github.com/rootctl/rootctl/internal/sbom/sbomtest"
)

var bionic = Root{Digest: strings.Repeat("0b", 32), Family: "ubuntu", Version: "18.04", Suite: "bionic", Title: "Ubuntu 18.04", Arch: "amd64",
	Properties: []Property{{"rootctl:unverified", "true"}},
	Packages: []Package{
		{Name: "libc6", Version: "2.27-3ubuntu1", Arch: "amd64", Source: "glibc", SHA256: strings.Repeat("ab", 32)},
		{Name: "gcc-8-base", Version: "8-20180414-1ubuntu2", Arch: "amd64", Source: "gcc-8"},
		{Name: "libstdc++6", Version: "1:8.0~x+dfsg-1+b1", Arch: "amd64", Source: "gcc-8 (1:8.0~x+dfsg-1)"},
		{Name: "tzdata", Version: "2018d-1", Arch: "all", Properties: []Property{{"rootctl:pocket", "release"}}},
		{Name: "tzdata", Version: "2018d-1", Arch: "all"},
		{Name: "odd \x01namé/&?#%@", Version: "1/2 3&x=y", Arch: "amd64"},
	}}

// TestSchema: what is written is valid, and the schema would find it if it were not.
func TestSchema(t *testing.T) {
	s, err := sbomtest.Open()
	if err != nil {
		t.Fatal(err)
	}
	good, err := bionic.CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	empty, err := (&Root{}).CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string][]byte{"fixture": good, "empty": empty}
	for name, text := range docs {
		if err := s.Check(text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range [][2]string{{`"SHA-256"`, `"SHA-257"`}, {`"library"`, `"libary"`}, {`"specVersion": "1.6"`, `"specVersion": 1.6`}, {`"urn:uuid:`, `"uuid:`}, {`"purl"`, `"pürl"`}} {
		if s.Check(bytes.Replace(good, []byte(bad[0]), []byte(bad[1]), 1)) == nil {
			t.Errorf("%s is as good as %s", bad[1], bad[0])
		}
	}
}

// TestPURL: the package URLs are those that packageurl-go writes, and say what they were made of.
func TestPURL(t *testing.T) {
	for _, p := range bionic.Packages {
		name, version := p.upstream()
		want := packageurl.NewPackageURL("deb", "ubuntu", p.Name, p.Version,
			packageurl.QualifiersFromMap(map[string]string{"arch": p.Arch, "distro": "ubuntu-18.04", "upstream": name + "@" + version}), "").ToString()
		got := bionic.purl(&p)
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		back, err := packageurl.FromString(got)
		if err != nil || back.Name != p.Name || back.Version != p.Version || back.Qualifiers.Map()["upstream"] != name+"@"+version {
			t.Errorf("%s reads as %+v, %v", got, back, err)
		}
	}
	for _, c := range []struct {
		r    Root
		want string
	}{
		{Root{Family: "debian", Version: "12", Suite: "bookworm"}, "pkg:deb/debian/a@1?arch=all&distro=debian-12&upstream=a%401"},
		{Root{Family: "debian", Suite: "sid"}, "pkg:deb/debian/a@1?arch=all&distro=debian-sid&upstream=a%401"},
		{Root{}, "pkg:deb/debian/a@1?arch=all&upstream=a%401"},
	} {
		if got := c.r.purl(&Package{Name: "a", Version: "1", Arch: "all"}); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
	p := bionic.Packages[2]
	if name, version := p.upstream(); name != "gcc-8" || version != "1:8.0~x+dfsg-1" {
		t.Errorf("upstream of %s: %s %s", p.Name, name, version)
	}
}

// TestSame: the order of the input is nothing, and every fact changes the serial number.
func TestSame(t *testing.T) {
	first, err := bionic.CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	turned := bionic
	turned.Packages = append([]Package{bionic.Packages[3]}, append(bionic.Packages[:3:3], bionic.Packages[5])...)
	if again, _ := turned.CycloneDX(); !bytes.Equal(first, again) {
		t.Errorf("not the same:\n%s\n%s", first, again)
	}
	other := bionic
	other.Properties = nil
	changed, err := other.CycloneDX()
	if err != nil || number(first) == number(changed) || number(first) == "" {
		t.Errorf("serial numbers %s and %s, %v", number(first), number(changed), err)
	}
}

func number(text []byte) string {
	_, rest, _ := strings.Cut(string(text), `"serialNumber": "`)
	n, _, _ := strings.Cut(rest, `"`)
	return n
}
