// Package resolve selects the packages of a root from Packages indices: pure, deterministic, and by
// default the very set debootstrap would take.
package resolve

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

// Source is one Packages file: the decompressed text for one pocket, component and architecture.
type Source struct {
	Pocket    string // "release", "updates", "security"
	Component string
	Data      string // the whole decompressed Packages file; kept alive by the Index
	// Beside says that it is of another archive than the suite's: its packages are not those to start from, whatever
	// their priority, and do not stand in for those of the suite that are.
	Beside bool
	Only   []string // the names that are taken from it; none is all
}

// Package is one paragraph of an index. All strings are parts of Source.Data.
type Package struct {
	Name   string
	Pocket string
	Stanza string // the raw paragraph
	Order  int    // position over all sources, in the order given
	beside bool
}

// Field returns the value of a field of the package's paragraph, "" if it has none.
func (p *Package) Field(name string) string { return control.Field(p.Stanza, name) }

// Index holds the packages of all sources by name.
type Index struct {
	byName    map[string]Package
	providers map[string][]string // virtual name -> sorted real names; made on first use
}

// NewIndex reads the sources. Where a name stands several times in one file the last paragraph counts
// and across the components of one pocket the first file's, both as debootstrap does; across pockets
// the highest version wins, as apt does.
func NewIndex(sources []Source) (*Index, error) {
	total := 0
	for _, s := range sources {
		total += len(s.Data)
	}
	// A paragraph is 789 bytes long on average in bookworm's Packages, and longer in Ubuntu's.
	ix := &Index{byName: make(map[string]Package, total/780+16)}
	order := 0
	for n, s := range sources {
		first := order
		for stanza, err := range control.Paragraphs(s.Data) {
			if err != nil {
				return nil, fmt.Errorf("read Packages of %s %s: %w", s.Pocket, s.Component, err)
			}
			name := control.Field(stanza, "Package")
			if name == "" {
				return nil, fmt.Errorf("read Packages of %s %s: paragraph %d has no Package field", s.Pocket, s.Component, order-first+1)
			}
			p := Package{Name: name, Pocket: s.Pocket, Stanza: stanza, Order: order, beside: s.Beside}
			order++
			old, seen := ix.byName[name]
			if s.Beside && (len(s.Only) > 0 && !slices.Contains(s.Only, name) || seen && old.base()) {
				continue
			}
			if seen && old.Order < first { // from an earlier file
				newer, err := supersedes(p, old)
				if err != nil {
					return nil, fmt.Errorf("read Packages of %s %s: package %s: %w", sources[n].Pocket, s.Component, name, err)
				}
				if !newer {
					continue
				}
			}
			ix.byName[name] = p
		}
	}
	return ix, nil
}

// base says whether a root may start from p: what the suite itself holds for that important stays the suite's.
func (p *Package) base() bool {
	switch p.Field("Priority") {
	case "required", "important", "standard":
		return !p.beside
	}
	return !p.beside && p.Field("Essential") == "yes"
}

func supersedes(p, old Package) (bool, error) {
	if p.Pocket == old.Pocket {
		return false, nil
	}
	c, err := version.Compare(p.Field("Version"), old.Field("Version"))
	return c > 0, err
}

// Lookup returns the package of that name.
func (ix *Index) Lookup(name string) (Package, bool) {
	p, ok := ix.byName[name]
	return p, ok
}

// Len is the number of different package names.
func (ix *Index) Len() int { return len(ix.byName) }

// having lists, sorted, the names whose index paragraph has that value of a field. Of Priority the
// index, not the .deb, decides: the archive's override file differs for half of a minbase's packages.
func (ix *Index) having(field, value string) []string {
	var out []string
	for name, p := range ix.byName {
		if !p.beside && p.Field(field) == value {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out
}

// provide lists, sorted, the real packages that provide name.
func (ix *Index) provide(name string) []string {
	if ix.providers == nil {
		ix.providers = make(map[string][]string)
		for real, p := range ix.byName {
			for _, virtual := range names(p.Field("Provides")) {
				ix.providers[virtual] = append(ix.providers[virtual], real)
			}
		}
		for _, reals := range ix.providers {
			sort.Strings(reals)
		}
	}
	return ix.providers[name]
}

// names lists the package names of a comma-separated field, versions and qualifiers stripped.
func names(field string) []string {
	if field == "" {
		return nil
	}
	var out []string
	for part := range strings.SplitSeq(field, ",") {
		part = strings.TrimSpace(part)
		if i := strings.IndexAny(part, " \t\n(:["); i >= 0 {
			part = part[:i]
		}
		if part != "" {
			out = append(out, part)
		}
	}
	return out
}
