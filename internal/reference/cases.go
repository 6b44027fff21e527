package reference

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Case is one line of the table of comparisons.
type Case struct {
	Kind                 string // of CaseKinds
	Suite, Variant, Arch string
	Include, Exclude     []string
	Added                []string // packages that only we are to have: debootstrap leaves a relation unmet
	Line                 int
}

// CaseKinds are what can be compared: whole trees and the package list with debootstrap's; the package list
// alone with debootstrap's or with mmdebstrap's; nothing, but the root is looked at from inside; two
// builds with one another; builds by root and by ordinary users; builds in many surroundings.
var CaseKinds = []string{"tree", "list", "set", "inside", "twice", "users", "ways"}

// ReadCases parses a table. A line is
//
//	KIND SUITE VARIANT ARCH [include=A,B] [exclude=A,B] [added=A,B]
//
// and "#" begins a comment line.
func ReadCases(r io.Reader) ([]Case, error) {
	var all []Case
	s := bufio.NewScanner(r)
	for line := 1; s.Scan(); line++ {
		f := strings.Fields(s.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 4 || !slices.Contains(CaseKinds, f[0]) {
			return nil, fmt.Errorf("cases line %d: want KIND SUITE VARIANT ARCH with a kind of %s", line, strings.Join(CaseKinds, " "))
		}
		c := Case{Kind: f[0], Suite: f[1], Variant: f[2], Arch: f[3], Line: line}
		for _, o := range f[4:] {
			name, value, _ := strings.Cut(o, "=")
			to := map[string]*[]string{"include": &c.Include, "exclude": &c.Exclude, "added": &c.Added}[name]
			if to == nil || value == "" {
				return nil, fmt.Errorf("cases line %d: option %q: want include=, exclude= or added= and names", line, o)
			}
			*to = strings.Split(value, ",")
		}
		all = append(all, c)
	}
	return all, s.Err()
}

// String is the case as it stands in the table.
func (c Case) String() string {
	s := strings.Join([]string{c.Kind, c.Suite, c.Variant, c.Arch}, " ")
	for _, o := range []struct {
		name  string
		names []string
	}{{"include", c.Include}, {"exclude", c.Exclude}, {"added", c.Added}} {
		if len(o.names) > 0 {
			s += " " + o.name + "=" + strings.Join(o.names, ",")
		}
	}
	return s
}
