package reference

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Allowed is one entry of the allow-list: a difference that is meant, with its reason. Where
// differences of its kind that match lie, they are no failure.
type Allowed struct {
	Pattern   string   // path.Match; "dir/**" is all below dir, "**/name" a name at any depth
	Kinds     []string // of Kinds, or "*"
	Reference string   // debootstrap, mmdebstrap or *
	Suites    []string // patterns for SUITE or SUITE/VARIANT
	Reason    string
	Line      int
	Used      int
}

// ReadAllowed parses an allow-list. A line is
//
//	PATTERN KIND[,KIND...] REFERENCE SUITE[,SUITE...] REASON...
//
// and "#" begins a comment line. Entries without a reason are an error.
func ReadAllowed(r io.Reader) ([]*Allowed, error) {
	var all []*Allowed
	s := bufio.NewScanner(r)
	for line := 1; s.Scan(); line++ {
		text := strings.TrimSpace(s.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		f := strings.Fields(text)
		if len(f) < 5 {
			return nil, fmt.Errorf("allow-list line %d: want PATTERN KIND REFERENCE SUITES REASON", line)
		}
		a := &Allowed{
			Pattern: f[0], Kinds: strings.Split(f[1], ","), Reference: f[2], Suites: strings.Split(f[3], ","),
			Reason: strings.Join(f[4:], " "), Line: line,
		}
		for _, k := range a.Kinds {
			if k != "*" && !slices.Contains(Kinds, k) {
				return nil, fmt.Errorf("allow-list line %d: no kind %q; there are %s", line, k, strings.Join(Kinds, " "))
			}
		}
		if !slices.Contains([]string{"*", "debootstrap", "mmdebstrap"}, a.Reference) {
			return nil, fmt.Errorf("allow-list line %d: no reference %q", line, a.Reference)
		}
		pattern := strings.TrimPrefix(strings.TrimSuffix(a.Pattern, "/**"), "**/")
		for _, p := range append([]string{pattern}, a.Suites...) {
			if _, err := path.Match(p, ""); err != nil {
				return nil, fmt.Errorf("allow-list line %d: pattern %q: %w", line, p, err)
			}
		}
		all = append(all, a)
	}
	return all, s.Err()
}

// Applies says whether the entry is meant for comparisons with the reference for this build.
func (a *Allowed) Applies(reference, suite, variant string) bool {
	if a.Reference != "*" && a.Reference != reference {
		return false
	}
	return slices.ContainsFunc(a.Suites, func(p string) bool {
		return match(p, suite) || match(p, suite+"/"+variant)
	})
}

func (a *Allowed) allows(d Difference) bool {
	if !slices.Contains(a.Kinds, "*") && !slices.Contains(a.Kinds, d.Kind) {
		return false
	}
	pattern, anywhere := strings.CutPrefix(a.Pattern, "**/")
	for name := d.Path; ; {
		if matchBelow(pattern, name) {
			return true
		}
		var more bool
		if _, name, more = strings.Cut(name, "/"); !more || !anywhere {
			return false
		}
	}
}

// matchBelow matches a path, or all below a folder for "dir/**".
func matchBelow(pattern, name string) bool {
	dir, below := strings.CutSuffix(pattern, "/**")
	if !below {
		return match(pattern, name)
	}
	parts, depth := strings.Split(name, "/"), strings.Count(dir, "/")+1
	return len(parts) > depth && match(dir, strings.Join(parts[:depth], "/"))
}

func match(pattern, name string) bool {
	if pattern == "*" {
		return true
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil // patterns have been checked
}

// Judge splits differences into those that stand and those that an entry allows, and counts the use
// of entries. Every entry must apply already.
func Judge(all []Difference, entries []*Allowed) (stand, allowed []Difference) {
	for _, d := range all {
		found := false
		for _, a := range entries {
			if a.allows(d) {
				a.Used++
				found = true
			}
		}
		if found {
			allowed = append(allowed, d)
		} else {
			stand = append(stand, d)
		}
	}
	return stand, allowed
}
