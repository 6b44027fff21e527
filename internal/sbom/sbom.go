// Package sbom writes bills of materials of roots, and where they came from. Plain data goes in; what comes out is a function of it: no clock, no
// chance, no host.
//
// The documents are written with types of this package: those of cyclonedx-go and packageurl-go compile expressions and make
// maps before main begins (63 kB in 490 allocations), which every start of a container would pay for. The tests hold them
// against CycloneDX's schema and packageurl-go.
package sbom

import (
	"cmp"
	"slices"
	"strings"
)

// A Root is what is listed.
type Root struct {
	Digest     string // SHA-256 of its canonical tar, in hex
	Family     string // debian, ubuntu: the distribution's ID in os-release
	Version    string // VERSION_ID in os-release, "" if the suite has none
	Suite      string // codename, "" if not known
	Title      string
	Arch       string
	Properties []Property // what else is to be known, in this order
	Packages   []Package
}

// A Property is a fact that the format has no word for.
type Property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Package is a Debian package of the root.
type Package struct {
	Name, Version, Arch string
	Source              string // the source package, and its version where that differs: glibc, glibc (2.27-3)
	SHA256              string // of the .deb in hex, "" if not known
	Properties          []Property
}

// upstream is the name and version of the source package: the field Source of Debian policy 5.6.1.
func (p *Package) upstream() (name, version string) {
	name, version, _ = strings.Cut(p.Source, " (")
	return cmp.Or(strings.TrimSpace(name), p.Name), cmp.Or(strings.TrimSuffix(version, ")"), p.Version)
}

// distro is what scanners look for in a purl: debian-12, ubuntu-18.04; the codename where there is no version (sid).
func (r *Root) distro() string {
	of := cmp.Or(r.Version, r.Suite)
	if of == "" {
		return r.Family
	}
	return r.family() + "-" + of
}

func (r *Root) family() string { return cmp.Or(r.Family, "debian") }

// purl is the package URL of type deb, https://github.com/package-url/purl-spec.
func (r *Root) purl(p *Package) string {
	var b strings.Builder
	b.WriteString("pkg:deb/" + escape(lower(r.family()), "") + "/" + escape(lower(p.Name), ""))
	if p.Version != "" {
		b.WriteString("@" + escape(p.Version, ":"))
	}
	separator := "?"
	name, version := p.upstream()
	for _, q := range [][2]string{{"arch", p.Arch}, {"distro", r.distro()}, {"upstream", name + "@" + version}} { // sorted
		if q[1] != "" {
			b.WriteString(separator + q[0] + "=" + escape(q[1], ":"))
			separator = "&"
		}
	}
	return b.String()
}

// escape encodes all bytes but unreserved ones and those in keep.
func escape(s, keep string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 || strings.IndexByte(keep, c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

// lower is for ASCII alone: other bytes may be no text.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// sorted are the packages by name, version and architecture, each once.
func (r *Root) sorted() []Package {
	list := slices.Clone(r.Packages)
	order := func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Arch, b.Arch))
	}
	slices.SortStableFunc(list, order)
	return slices.CompactFunc(list, func(a, b Package) bool { return order(a, b) == 0 })
}
