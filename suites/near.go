package suites

import (
	"cmp"
	"slices"
	"strings"
)

// near returns what a name may have been meant to be: of a family alone (debian) the suites that are in
// use, of a version or of words of other tools (12, ubuntu18.04, debian:bookworm-slim) the suite, else
// names of nearly the same letters.
func (s *Set) near(name string) []string {
	word := strings.ToLower(name)
	for _, family := range []string{"debian", "ubuntu"} {
		rest, ok := strings.CutPrefix(word, family)
		if !ok {
			continue
		}
		if rest = strings.Trim(rest, "-_:/ "); rest == "" || rest == "latest" {
			return s.current(family)
		}
		if hit := s.called(strings.TrimSuffix(rest, "-slim"), family); hit != nil {
			return hit
		}
		if hits := Near(rest, s.known()); hits != nil {
			return hits
		}
		return s.current(family)
	}
	if hit := s.called(word, ""); hit != nil {
		return hit
	}
	return Near(word, s.known())
}

// called returns the codename of a suite of a family ("": any) by any name or its version.
func (s *Set) called(word, family string) []string {
	for _, su := range s.All() {
		v := su.Version
		version := v != "" && (v == word || v == word+".04" || strings.HasPrefix(word, v+".")) // 18, or 22.04.1
		if (family == "" || su.Family == family) && (version || slices.Contains(su.Names(), word)) {
			return []string{su.Codename}
		}
	}
	return nil
}

// current returns the suites of a family that are for use now: Debian's stable and the one before,
// Ubuntu's last two with long-term support.
func (s *Set) current(family string) []string {
	type one struct{ codename, version string }
	var all []one
	for _, su := range s.All() {
		if su.Family == family && (su.Role == "stable" || su.Role == "oldstable" || strings.Contains(su.Title, " LTS ")) {
			all = append(all, one{su.Codename, su.Version})
		}
	}
	slices.SortFunc(all, func(a, b one) int { return cmp.Compare(b.version, a.version) })
	var names []string
	for _, o := range all[:min(2, len(all))] {
		names = append(names, o.codename)
	}
	return names
}

// Near returns up to three of known that are at most a third of name's letters away, best first.
func Near(name string, known []string) []string {
	if len(name) > 64 {
		return nil
	}
	type hit struct {
		name string
		d    int
	}
	var hits []hit
	for _, k := range known {
		if d := distance(name, k); d <= max(1, len(k)/3) && d < len(k) {
			hits = append(hits, hit{k, d})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Or(cmp.Compare(a.d, b.d), cmp.Compare(a.name, b.name)) })
	var names []string
	for _, h := range hits[:min(3, len(hits))] {
		names = append(names, h.name)
	}
	return names
}

// distance counts the bytes to insert, delete, replace or swap with a neighbour to turn a into b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
