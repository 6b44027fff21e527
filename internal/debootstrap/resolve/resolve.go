package resolve

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
)

// Want says what a root is to hold.
type Want struct {
	Variant       string // one of Variants
	Include       []string
	Exclude       []string // leaves the seed lists only; a dependency brings a name back
	Arch          string
	ExtraRequired []string // added to the required seeds where the index has them
	DropDepends   []string // dependencies never followed
	ExtraBase     []string // seeds that follow from the root's sources.list, e.g. ca-certificates
}

// Set is a resolved selection, each list sorted by name; no name is in both.
type Set struct {
	Required []Package
	Base     []Package
	Warnings []string // versions, conflicts and names that the set does not meet
}

// UnknownPackage is returned for an --include name that no index has.
type UnknownPackage struct {
	Name string
	Near []string // similar names, best first
	More []string // further names that no index has
	By   []string // packages that provide Name, which is a virtual one
}

func (e *UnknownPackage) Error() string {
	if len(e.More) > 0 {
		return fmt.Sprintf("include %s: no index has packages of these names", strings.Join(append([]string{e.Name}, e.More...), ", "))
	}
	return fmt.Sprintf("include %s: no index has a package of that name", e.Name)
}

// Hint proposes what provides the name, or the nearest names.
func (e *UnknownPackage) Hint() string {
	if len(e.By) > 0 {
		return e.Name + " is a virtual package, provided by " + strings.Join(e.By, ", ") + ": include one of these"
	}
	if len(e.Near) == 0 {
		return "check the spelling, or add its component with --components main,universe"
	}
	return "did you mean " + strings.Join(e.Near, ", ") + "?"
}

// Resolve selects packages: for minbase, buildd and important as debootstrap 1.0.128 does, with the
// relations met that it passes over; for essential, apt and standard, which debootstrap has not, as
// mmdebstrap's apt does.
func Resolve(ix *Index, w Want) (*Set, error) {
	v, err := variantOf(w.Variant)
	if err != nil {
		return nil, err
	}
	if err := w.known(ix); err != nil {
		return nil, err
	}
	r := resolver{ix: ix, arch: w.Arch, drop: set(w.DropDepends)}
	required, base := v.seeds(ix, w)
	if len(required) == 0 {
		return nil, fmt.Errorf("select packages: the index has none of Priority required for architecture %s", w.Arch)
	}
	var req, more map[string]bool
	if v.apt {
		req, more, err = r.likeApt(required, base)
	} else {
		req, more, err = r.likeDebootstrap(required, base)
	}
	if err != nil {
		return nil, err
	}
	out := &Set{Required: r.packages(req), Base: r.packages(more)}
	out.Warnings, err = r.check(req, more)
	for _, name := range w.Exclude {
		if _, ok := ix.byName[name]; !ok {
			out.Warnings = append(out.Warnings, fmt.Sprintf("exclude %s: no index has a package of that name", name))
		}
	}
	return out, err
}

// known is the error for names to include that no index has.
func (w Want) known(ix *Index) error {
	var unknown *UnknownPackage
	for _, name := range w.Include {
		if _, ok := ix.byName[name]; ok {
			continue
		}
		if unknown == nil {
			unknown = &UnknownPackage{Name: name, Near: ix.near(name), By: firstFew(ix.provide(name))}
		} else {
			unknown.More = append(unknown.More, name)
		}
	}
	if unknown != nil {
		return unknown
	}
	return nil
}

type resolver struct {
	ix   *Index
	arch string
	drop map[string]bool
}

// likeDebootstrap takes the closure of the required seeds, then that of the others, each over the first
// alternatives of Depends and Pre-Depends. Relations this leaves unmet are then met by the next real
// alternative, else by the provider of best priority.
func (r *resolver) likeDebootstrap(required, seeds []string) (req, base map[string]bool, err error) {
	req, base = r.closure(required), r.closure(seeds)
	for name := range req {
		delete(base, name)
	}
	return req, base, r.mend(req, base)
}

// closure follows the first alternatives of Depends and Pre-Depends from the seeds; names without a
// real package are passed over.
func (r *resolver) closure(seeds []string) map[string]bool {
	done := make(map[string]bool)
	queue := slices.Clone(seeds)
	for len(queue) > 0 {
		name := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		p, ok := r.ix.byName[name]
		if !ok || done[name] {
			continue
		}
		done[name] = true
		for _, field := range []string{"Depends", "Pre-Depends"} {
			for _, dep := range names(p.Field(field)) { // names cuts at the first blank, so "a | b" is a
				dep, _, _ = strings.Cut(dep, "|")
				if !r.drop[dep] {
					queue = append(queue, dep)
				}
			}
		}
	}
	return done
}

// mend adds to base what the relations of the selected packages need and the first alternatives did
// not bring: the next real alternative, else the best provider.
func (r *resolver) mend(req, base map[string]bool) error {
	for {
		var add string
		err := r.unmet(req, base, func(_ Package, rel control.Relation) {
			if add == "" {
				add = r.choose(rel)
			}
		})
		if err != nil || add == "" {
			return err
		}
		for name := range r.closure([]string{add}) {
			if !req[name] {
				base[name] = true
			}
		}
	}
}

// unmet calls f for each relation of a selected package that no selected package meets by name.
func (r *resolver) unmet(req, base map[string]bool, f func(Package, control.Relation)) error {
	provided := make(map[string]bool)
	all := append(r.packages(req), r.packages(base)...)
	for _, p := range all {
		provided[p.Name] = true
		for _, v := range names(p.Field("Provides")) {
			provided[v] = true
		}
	}
	for _, p := range all {
		for _, field := range []string{"Pre-Depends", "Depends"} {
			rels, err := control.ParseRelations(p.Field(field))
			if err != nil {
				return fmt.Errorf("read %s of %s: %w", field, p.Name, err)
			}
			for _, rel := range rels {
				if !slices.ContainsFunc(rel, func(a control.Alternative) bool { return provided[a.Name] || r.drop[a.Name] }) {
					f(p, rel)
				}
			}
		}
	}
	return nil
}

var priorities = map[string]int{"required": 0, "important": 1, "standard": 2, "optional": 3, "extra": 4}

// choose returns the package that meets rel best, "" if the index has none: a real one before any provider.
func (r *resolver) choose(rel control.Relation) string {
	for _, a := range rel {
		if _, ok := r.ix.byName[a.Name]; ok {
			return a.Name
		}
	}
	for _, a := range rel {
		if name := r.provider(a.Name); name != "" {
			return name
		}
	}
	return ""
}

// provider is the package of best priority, then first by name, that provides a virtual one.
func (r *resolver) provider(virtual string) string {
	best, rank := "", 0
	for _, name := range r.ix.provide(virtual) {
		p := r.ix.byName[name]
		n, ok := priorities[p.Field("Priority")]
		if !ok {
			n = len(priorities)
		}
		if best == "" || n < rank {
			best, rank = name, n
		}
	}
	return best
}

func (r *resolver) packages(set map[string]bool) []Package {
	out := make([]Package, 0, len(set))
	for name := range set {
		out = append(out, r.ix.byName[name])
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func set(l []string) map[string]bool {
	m := make(map[string]bool, len(l))
	for _, s := range l {
		m[s] = true
	}
	return m
}

// firstFew are as many names as a hint can hold.
func firstFew(names []string) []string { return names[:min(5, len(names))] }
