package resolve

import (
	"fmt"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

// likeApt follows dependencies as mmdebstrap's apt does, which installs the first set alone and then the
// rest on top: what a relation needs is taken only where nothing that is selected meets it.
func (r *resolver) likeApt(required, seeds []string) (req, base map[string]bool, err error) {
	a := aptResolver{resolver: r, selected: map[string]bool{}, provided: map[string][]string{}}
	if err := a.add(required); err != nil {
		return nil, nil, err
	}
	req, base = map[string]bool{}, map[string]bool{}
	for name := range a.selected {
		req[name] = true
	}
	if err := a.add(seeds); err != nil {
		return nil, nil, err
	}
	for name := range a.selected {
		if !req[name] {
			base[name] = true
		}
	}
	return req, base, nil
}

// aptResolver is a growing selection.
type aptResolver struct {
	*resolver
	selected map[string]bool
	provided map[string][]string // virtual name -> selected packages
}

// add selects the seeds and what they need, level by level.
func (a *aptResolver) add(seeds []string) error {
	var queue []string
	take := func(name string) {
		p, ok := a.ix.byName[name]
		if !ok || a.selected[name] {
			return
		}
		a.selected[name] = true
		for _, v := range names(p.Field("Provides")) {
			a.provided[v] = append(a.provided[v], name)
		}
		queue = append(queue, name)
	}
	for _, name := range seeds {
		take(name)
	}
	for ; len(queue) > 0; queue = queue[1:] {
		p := a.ix.byName[queue[0]]
		for _, field := range []string{"Pre-Depends", "Depends"} {
			rels, err := control.ParseRelations(p.Field(field))
			if err != nil {
				return fmt.Errorf("read %s of %s: %w", field, p.Name, err)
			}
			for _, rel := range rels {
				need, err := a.need(rel)
				if err != nil {
					return fmt.Errorf("read %s of %s: %w", field, p.Name, err)
				}
				if need != "" {
					take(need)
				}
			}
		}
	}
	return nil
}

// need is the package to take for a relation, "" when it is met or nothing can meet it. The first
// alternative that can be had counts, be it real or provided.
func (a *aptResolver) need(rel control.Relation) (string, error) {
	first := ""
	for _, alt := range rel {
		if a.drop[alt.Name] {
			continue
		}
		p, real := a.ix.byName[alt.Name]
		if real && alt.Op != "" {
			var err error
			if real, err = version.Satisfies(p.Field("Version"), alt.Op, alt.Version); err != nil {
				return "", err
			}
		}
		if real && a.selected[alt.Name] || len(a.provided[alt.Name]) > 0 {
			return "", nil
		}
		switch {
		case first != "":
		case real:
			first = alt.Name
		default:
			first = a.provider(alt.Name)
		}
	}
	return first, nil
}
