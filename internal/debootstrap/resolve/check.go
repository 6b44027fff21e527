package resolve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

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

// Check reports which relations between packages that are to stand beside each other are not met: versions that do not
// satisfy, and conflicts. What no package of them has or provides is not judged.
func Check(packages []Package) (out []string, err error) {
	byName, provided := make(map[string]Package, len(packages)), map[string]bool{}
	for _, p := range packages {
		byName[p.Name] = p
		rels, err := control.ParseRelations(p.Field("Provides"))
		if err != nil {
			continue
		}
		for _, rel := range rels {
			for _, a := range rel {
				provided[a.Name] = true
			}
		}
	}
	has := func(name string) (Package, bool) { p, ok := byName[name]; return p, ok }
	for _, p := range packages {
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
				virtual := slices.ContainsFunc(rel, func(a control.Alternative) bool { return provided[a.Name] })
				if msg != "" && (negative || !virtual) {
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
