package resolve

import (
	"fmt"
	"slices"
	"strings"
)

// variant is what a root starts from.
type variant struct {
	name       string
	essential  bool     // the required seeds are those of Essential: yes, not those of Priority: required
	names      []string // further seeds by name
	priorities []string // further seeds by Priority
	apt        bool     // dependencies are followed as apt does, not as debootstrap does
}

func variants() []variant {
	return []variant{
		{name: "essential", essential: true, apt: true},
		{name: "apt", essential: true, names: []string{"apt"}, apt: true},
		{name: "minbase", names: []string{"apt"}},
		{name: "buildd", names: []string{"apt", "build-essential"}},
		{name: "important", priorities: []string{"important"}},
		{name: "standard", priorities: []string{"important", "standard"}, apt: true},
	}
}

// Variants lists the variants that Resolve knows, smallest first.
func Variants() []string {
	var names []string
	for _, v := range variants() {
		names = append(names, v.name)
	}
	return names
}

// Canonical is a variant's one name: debootstrap's default, which it calls "-", is important.
func Canonical(name string) string {
	if name == "-" {
		return "important"
	}
	return name
}

func variantOf(name string) (variant, error) {
	all := variants()
	i := slices.IndexFunc(all, func(v variant) bool { return v.name == name })
	if i < 0 {
		return variant{}, fmt.Errorf("select packages: unknown variant %q (known: %s)", name, strings.Join(Variants(), ", "))
	}
	return all[i], nil
}

// seeds are the names from which dependencies are followed: those that are unpacked and configured
// first, and the others.
func (v variant) seeds(ix *Index, w Want) (required, base []string) {
	if v.essential {
		required = ix.having("Essential", "yes")
	} else {
		required = append(ix.having("Priority", "required"), w.ExtraRequired...)
	}
	if v.apt && !v.essential {
		required = append(ix.having("Essential", "yes"), required...)
	}
	base = slices.Clone(v.names)
	for _, p := range v.priorities {
		base = append(base, ix.having("Priority", p)...)
	}
	base = append(append(base, w.ExtraBase...), w.Include...)
	drop := func(name string) bool {
		_, ok := ix.byName[name]
		return !ok || slices.Contains(w.Exclude, name)
	}
	return slices.DeleteFunc(required, drop), slices.DeleteFunc(base, drop)
}
