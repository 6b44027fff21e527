package resolve

import "sort"

// near lists up to three names of the index at a small edit distance.
func (ix *Index) near(name string) []string {
	type hit struct {
		name string
		d    int
	}
	limit := max(2, len(name)/3) // two: swapped letters count twice
	if len(name) < 4 {
		limit = 1
	}
	var hits []hit
	for other := range ix.byName {
		if abs(len(other)-len(name)) > limit {
			continue
		}
		if d := distance(name, other); d <= limit {
			hits = append(hits, hit{other, d})
		}
	}
	sort.Slice(hits, func(i, j int) bool {
		return hits[i].d < hits[j].d || hits[i].d == hits[j].d && hits[i].name < hits[j].name
	})
	var out []string
	for _, h := range hits[:min(3, len(hits))] {
		out = append(out, h.name)
	}
	return out
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		prev := row[0]
		row[0] = i + 1
		for j := range b {
			cost := prev
			if a[i] != b[j] {
				cost++
			}
			prev = row[j+1]
			row[j+1] = min(cost, row[j]+1, prev+1)
		}
	}
	return row[len(b)]
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
