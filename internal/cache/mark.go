package cache

import (
	"encoding/json"
	"os"
	"slices"
	"time"
)

// What a collection keeps is decided by digests alone, whatever form the records of other packages have: a download or
// blob lives if its digest stands anywhere in
//
//   - a record in actions/ that has a root ({"root": DIGEST}) which is there, of whatever kind;
//   - a record in releases/ not older than the bound on age: the indices of that archive, for the next resolution.

// A mark says what keeps downloads and blobs: how many live records name each.
type marks struct {
	count  map[Digest]int
	byRoot map[Digest][]rooted // the records of each root
}

type rooted struct {
	names []Digest
	files []loose // the record and its input: loose once the root is gone
}

// A loose record is one that no root keeps: only the newest ones stay.
type loose struct {
	path  string // from the cache's folder
	bytes int64
	when  time.Time
}

// keepLoose bounds the records without a root that is there: selections, requests, what roles were, and what "cache why"
// compares with, by number and bytes of a folder.
const (
	keepLoose      = 512
	keepLooseBytes = 32 << 20
)

// readMarks reads all records. there says which roots are.
func (s *Store) readMarks(there map[Digest]bool, oldest time.Time) (*marks, []loose, error) {
	m := &marks{count: map[Digest]int{}, byRoot: map[Digest][]rooted{}}
	actions, err := s.listDir("actions")
	if err != nil {
		return nil, nil, err
	}
	inputs, err := s.listDir("inputs")
	if err != nil {
		return nil, nil, err
	}
	var rest []loose
	kept := map[string]bool{} // inputs
	for _, name := range actions {
		b, err := s.readRecord("actions", name)
		if err != nil || !Digest(name).Valid() {
			continue // damaged or foreign: verify's business
		}
		files := []loose{s.loose("actions", name)}
		root := rootOf(b)
		if !there[root] {
			rest = append(rest, files...)
			continue
		}
		if input := name + ".json"; has(inputs, input) {
			kept[input] = true
			files = append(files, s.loose("inputs", input))
		}
		m.add(root, digestsIn(b), files)
	}
	for _, name := range inputs {
		if !kept[name] {
			rest = append(rest, s.loose("inputs", name))
		}
	}
	return m, rest, s.markReleases(m, oldest)
}

func has(sorted []string, name string) bool {
	_, ok := slices.BinarySearch(sorted, name)
	return ok
}

// markReleases keeps the indices that the Releases of archives in use name.
func (s *Store) markReleases(m *marks, oldest time.Time) error {
	releases, err := s.listDir("releases")
	for _, name := range releases {
		if st, err := os.Stat(s.path("releases", name)); err != nil || st.ModTime().Before(oldest) {
			continue
		}
		if b, err := s.readRecord("releases", name); err == nil {
			m.add("", digestsIn(b), nil)
		}
	}
	return err
}

func (s *Store) loose(folder, name string) loose {
	l := loose{path: folder + "/" + name}
	if st, err := os.Lstat(s.path(l.path)); err == nil {
		l.bytes, l.when = treeBytes(s.path(l.path)), st.ModTime()
	}
	return l
}

// stale are the loose records beyond the bound, oldest first within each folder.
func stale(rest []loose, all bool) []loose {
	var out []loose
	slices.SortStableFunc(rest, func(a, b loose) int { return b.when.Compare(a.when) })
	count, bytes := map[string]int{}, map[string]int64{}
	for _, l := range rest {
		folder := l.path[:len("inputs/")-1]
		if count[folder]++; all || count[folder] > keepLoose || bytes[folder]+l.bytes > keepLooseBytes {
			out = append(out, l)
			continue
		}
		bytes[folder] += l.bytes
	}
	return out
}

func (m *marks) add(root Digest, names []Digest, files []loose) {
	for _, d := range names {
		m.count[d]++
	}
	if root != "" {
		m.byRoot[root] = append(m.byRoot[root], rooted{names, files})
	}
}

// drop takes back what the records of a root mark, calls free for what nothing names any more, and returns the records,
// which are loose now.
func (m *marks) drop(root Digest, free func(Digest)) (files []loose) {
	for _, r := range m.byRoot[root] {
		files = append(files, r.files...)
		for _, d := range r.names {
			if m.count[d]--; m.count[d] == 0 {
				free(d)
			}
		}
	}
	delete(m.byRoot, root)
	return files
}

func rootOf(record []byte) Digest {
	var r struct {
		Root Digest `json:"root"`
	}
	if json.Unmarshal(record, &r) != nil || !r.Root.Valid() {
		return ""
	}
	return r.Root
}

// digestsIn finds the words of exactly 64 hex digits, each once.
func digestsIn(b []byte) []Digest {
	const n = 64
	var out []Digest
	seen := map[Digest]bool{}
	for i := 0; i+n <= len(b); {
		if k := lastNonHex(b[i : i+n]); k >= 0 {
			i += k + 1
			continue
		}
		end := i + n
		for end < len(b) && isHex(b[end]) {
			end++
		}
		// i is at a word's beginning: the byte before it is none of a word, or the text begins here.
		if d := Digest(b[i:end]); end == i+n && !seen[d] {
			seen[d] = true
			out = append(out, d)
		}
		i = end
	}
	return out
}

func lastNonHex(b []byte) int {
	for k := len(b) - 1; k >= 0; k-- {
		if !isHex(b[k]) {
			return k
		}
	}
	return -1
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
