package resolve

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

// Want says what a root is to hold.
type Want struct {
	Variant       string // "minbase" or "buildd"
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

// Variants lists the variants that Resolve knows.
func Variants() []string { return []string{"minbase", "buildd"} }

// UnknownPackage is returned for an --include name that no index has.
type UnknownPackage struct {
	Name string
	Near []string // similar names, best first
	More []string // further names that no index has
}

func (e *UnknownPackage) Error() string {
	if len(e.More) > 0 {
		return fmt.Sprintf("include %s: no index has packages of these names", strings.Join(append([]string{e.Name}, e.More...), ", "))
	}
	return fmt.Sprintf("include %s: no index has a package of that name", e.Name)
}

// Hint proposes the nearest names.
func (e *UnknownPackage) Hint() string {
	if len(e.Near) == 0 {
		return "check the spelling, or add its component with --components main,universe"
	}
	return "did you mean " + strings.Join(e.Near, ", ") + "?"
}

// Resolve selects packages as debootstrap 1.0.128 does: the closure of all Priority: required
// packages, then that of the variant's seeds, each over the first alternatives of Depends and
// Pre-Depends. Relations this leaves unmet, which debootstrap passes over, are then met by the next
// real alternative, else by the provider of best priority.
func Resolve(ix *Index, w Want) (*Set, error) {
	seeds, err := w.seeds(ix)
	if err != nil {
		return nil, err
	}
	r := resolver{ix: ix, arch: w.Arch, drop: set(w.DropDepends)}
	var required []string
	for _, name := range append(ix.byPriority("required"), w.ExtraRequired...) {
		if _, ok := ix.byName[name]; ok && !slices.Contains(w.Exclude, name) {
			required = append(required, name)
		}
	}
	if len(required) == 0 {
		return nil, fmt.Errorf("select packages: the index has none of Priority required for architecture %s", w.Arch)
	}
	req := r.closure(required)
	base := r.closure(seeds)
	for name := range req {
		delete(base, name)
	}
	if err := r.mend(req, base); err != nil {
		return nil, err
	}
	out := &Set{Required: r.packages(req), Base: r.packages(base)}
	out.Warnings, err = r.check(req, base)
	for _, name := range w.Exclude {
		if _, ok := ix.byName[name]; !ok {
			out.Warnings = append(out.Warnings, fmt.Sprintf("exclude %s: no index has a package of that name", name))
		}
	}
	return out, err
}

func (w Want) seeds(ix *Index) ([]string, error) {
	var seeds []string
	switch w.Variant {
	case "minbase":
		seeds = []string{"apt"}
	case "buildd":
		seeds = []string{"apt", "build-essential"}
	default:
		return nil, fmt.Errorf("select packages: unknown variant %q (known: %s)", w.Variant, strings.Join(Variants(), ", "))
	}
	var unknown *UnknownPackage
	for _, name := range w.Include {
		if _, ok := ix.byName[name]; ok {
			continue
		}
		if unknown == nil {
			unknown = &UnknownPackage{Name: name, Near: ix.near(name)}
		} else {
			unknown.More = append(unknown.More, name)
		}
	}
	if unknown != nil {
		return nil, unknown
	}
	seeds = append(append(seeds, w.ExtraBase...), w.Include...)
	return slices.DeleteFunc(seeds, func(s string) bool { return slices.Contains(w.Exclude, s) }), nil
}

type resolver struct {
	ix   *Index
	arch string
	drop map[string]bool
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

// choose returns the package that meets rel best, "" if the index has none.
func (r *resolver) choose(rel control.Relation) string {
	for _, a := range rel {
		if _, ok := r.ix.byName[a.Name]; ok {
			return a.Name
		}
	}
	for _, a := range rel {
		best, rank := "", 0
		for _, name := range r.ix.provide(a.Name) {
			p := r.ix.byName[name]
			n, ok := priorities[p.Field("Priority")]
			if !ok {
				n = len(priorities)
			}
			if best == "" || n < rank {
				best, rank = name, n
			}
		}
		if best != "" {
			return best
		}
	}
	return ""
}

func (r *resolver) packages(set map[string]bool) []Package {
	out := make([]Package, 0, len(set))
	for name := range set {
		out = append(out, r.ix.byName[name])
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// check reports what dpkg may stumble over: relations met by no name, versions that do not satisfy,
// and conflicts inside the set.
func (r *resolver) check(req, base map[string]bool) ([]string, error) {
	var out []string
	err := r.unmet(req, base, func(p Package, rel control.Relation) {
		out = append(out, fmt.Sprintf("%s depends on %s, which no index has", p.Name, text(rel)))
	})
	if err != nil {
		return nil, err
	}
	has := func(name string) (Package, bool) { return r.ix.byName[name], req[name] || base[name] }
	for _, p := range append(r.packages(req), r.packages(base)...) {
		for _, field := range []string{"Pre-Depends", "Depends", "Conflicts", "Breaks"} {
			rels, err := control.ParseRelations(p.Field(field))
			if err != nil {
				return nil, fmt.Errorf("read %s of %s: %w", field, p.Name, err)
			}
			negative := field == "Conflicts" || field == "Breaks"
			for _, rel := range rels {
				msg, err := judge(p, rel, field, negative, has)
				if err != nil {
					return nil, err
				}
				if msg != "" {
					out = append(out, msg)
				}
			}
		}
	}
	return out, nil
}

// judge says what is wrong with one relation of p inside the set, "" if nothing is. A real package of
// the right version, or any selected package under a virtual name, satisfies a positive relation.
func judge(p Package, rel control.Relation, field string, negative bool, has func(string) (Package, bool)) (string, error) {
	present, satisfied := false, false
	for _, a := range rel {
		q, ok := has(a.Name)
		if !ok {
			continue
		}
		present = true
		ok = true
		if a.Op != "" {
			var err error
			if ok, err = version.Satisfies(q.Field("Version"), a.Op, a.Version); err != nil {
				return "", fmt.Errorf("compare %s %s with %s of %s: %w", q.Name, q.Field("Version"), field, p.Name, err)
			}
		}
		satisfied = satisfied || ok
		if negative && ok && q.Name != p.Name {
			return fmt.Sprintf("%s %s %s, which is selected", p.Name, strings.ToLower(field), text(rel)), nil
		}
	}
	if !negative && present && !satisfied {
		return fmt.Sprintf("%s needs %s, which the selected version does not meet", p.Name, text(rel)), nil
	}
	return "", nil
}

// text writes a relation as it stands in a control file, without architecture lists.
func text(rel control.Relation) string {
	var parts []string
	for _, a := range rel {
		s := a.Name
		if a.Op != "" {
			s += " (" + a.Op + " " + a.Version + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " | ")
}

func set(l []string) map[string]bool {
	m := make(map[string]bool, len(l))
	for _, s := range l {
		m[s] = true
	}
	return m
}
