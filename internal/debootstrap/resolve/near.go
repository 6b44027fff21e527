package resolve

import "sort"

// near lists up to three names of the index at a small edit distance.
func (ix *Index) near(name string) []string {
	type hit struct {
		name string
		d    int
	}
	limit := max(2, len(name)/3)
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

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}
