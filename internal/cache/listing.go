package cache

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A Listed is one name whose root is there, or a root that has none.
type Listed struct {
	Name      string // "" for a root without a name
	Root, Key Digest
	Bytes     int64  // on disk, to about a fiftieth
	Row       string // what the caller made of the record
	stamp     string
}

// Listing lists names in order, then roots without a name. row makes of a ref what the caller wants of it, in one line;
// tag changes with its form. Where nothing has changed since the last list, it costs the reading of one file; else whole
// records are read only of what is new.
func (s *Store) Listing(tag string, row func(Ref) (string, error)) ([]Listed, error) {
	stamps := s.listingStamps()
	old, made := s.readListing(tag)
	if made != "" && made == stamps {
		return old, nil
	}
	dirs, err := s.listDir("roots")
	if err != nil {
		return nil, fmt.Errorf("list roots: %w", err)
	}
	names, err := s.listDir("refs")
	if err != nil {
		return nil, fmt.Errorf("list names: %w", err)
	}
	l := &lister{s: s, row: row, known: make(map[string]*Listed, len(old)), there: s.wholeRoots(dirs)}
	for i := range old {
		l.known[old[i].Name+"\t"+unlessNamed(&old[i])] = &old[i]
	}
	if err := l.names(names); err != nil {
		return nil, err
	}
	if err := l.nameless(dirs); err != nil {
		return nil, err
	}
	if l.changed || len(l.out) != len(old) || made != stamps {
		s.writeListing(tag, stamps, l.out)
	}
	return l.out, nil
}

// unlessNamed is the root in the key of an entry without a name.
func unlessNamed(l *Listed) string {
	if l.Name != "" {
		return ""
	}
	return string(l.Root)
}

type lister struct {
	s       *Store
	row     func(Ref) (string, error)
	known   map[string]*Listed
	there   map[Digest]bool
	named   map[Digest]bool
	out     []Listed
	changed bool
}

func (l *lister) names(names []string) error {
	l.named = make(map[Digest]bool, len(names))
	l.out = make([]Listed, 0, len(l.there))
	for _, name := range names {
		stamp := l.s.stamp("refs", name)
		e, ok := l.known[name+"\t"]
		if !ok || e.stamp != stamp {
			r, err := l.s.Ref(name)
			if err != nil {
				continue // damaged, or gone meanwhile
			}
			if e, err = l.entry(r, stamp); err != nil {
				return err
			}
		}
		if l.there[e.Root] {
			l.named[e.Root] = true
			l.out = append(l.out, *e)
		}
	}
	return nil
}

func (l *lister) entry(r Ref, stamp string) (*Listed, error) {
	l.changed = true
	row, err := l.row(r)
	u, _ := l.s.usageOf(r.Root, l.s.now())
	return &Listed{Name: r.Name, Root: r.Root, Key: r.Key, Bytes: u.Bytes, Row: row, stamp: stamp}, err
}

// nameless lists the other roots. One whose record is not known costs a look at all records, once until another is
// written.
func (l *lister) nameless(names []string) error {
	all := l.s.stamp("actions", "")
	var unknown []Digest
	place := map[Digest]int{}
	for _, n := range names {
		d := Digest(n)
		if !l.there[d] || l.named[d] {
			continue
		}
		e, ok := l.known["\t"+n]
		if ok && e.Key != "" && l.s.stamp("actions", string(e.Key)) == e.stamp || ok && e.Key == "" && e.stamp == all {
			l.out = append(l.out, *e)
			continue
		}
		place[d] = len(l.out)
		l.out = append(l.out, Listed{Root: d})
		unknown = append(unknown, d)
	}
	if len(unknown) == 0 {
		return nil
	}
	for d, r := range l.s.RecordsOf(unknown) {
		stamp := all
		if r.Key != "" {
			stamp = l.s.stamp("actions", string(r.Key))
		}
		e, err := l.entry(r, stamp)
		if err != nil {
			return err
		}
		l.out[place[d]] = *e
	}
	return nil
}

// stamp is another one whenever a file was replaced, or a folder's list changed.
func (s *Store) stamp(folder, name string) string {
	var st unix.Stat_t
	if unix.Lstat(s.path(folder, name), &st) != nil {
		return ""
	}
	b := make([]byte, 0, 60)
	for _, n := range [...]int64{int64(st.Ino), st.Mtim.Sec, st.Mtim.Nsec, st.Size} {
		b = append(strconv.AppendInt(b, n, 36), '.')
	}
	return string(b)
}

// RecordsOf finds the records of roots, as nameless refs: that of a build, else that of an import, else one without key
// and info. It reads all records.
func (s *Store) RecordsOf(roots []Digest) map[Digest]Ref {
	out := make(map[Digest]Ref, len(roots))
	for _, d := range roots {
		out[d] = Ref{Root: d}
	}
	for key, raw := range s.Actions() {
		if !bytes.Contains(raw, []byte(`"info":`)) {
			continue // sooner seen than parsed
		}
		var rec struct {
			Kind string          `json:"kind"`
			Root Digest          `json:"root"`
			Info json.RawMessage `json:"info"`
		}
		r, ok := out[rootOf(raw)]
		if !ok || json.Unmarshal(raw, &rec) != nil || rec.Kind != "root" && (rec.Kind != "import" && rec.Kind != "commit" || r.Key != "") {
			continue
		}
		r.Key, r.Info = key, rec.Info
		out[rec.Root] = r
	}
	return out
}

// A Use says when a root was used last, and whether it is this moment.
type Use struct {
	Used  time.Time
	InUse bool
}

// Uses looks at the stamps and locks of listed roots. In a read-only cache nobody can tell what is in use.
func (s *Store) Uses(list []Listed) []Use {
	out := make([]Use, len(list))
	now := s.now()
	use, err := unix.Open(s.path("use"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(use)
	}
	for i, inUse := range s.InUse(list) {
		d := list[i].Root
		var st unix.Stat_t
		if unix.Fstatat(use, string(d), &st, unix.AT_SYMLINK_NOFOLLOW) != nil && unix.Lstat(s.mtreePath(d), &st) != nil &&
			unix.Lstat(cmp.Or(s.bootPath(d), s.mtreePath(d)), &st) != nil {
			continue
		}
		out[i] = Use{time.Unix(st.Mtim.Unix()), inUse}
		if out[i].Used.After(now) { // as in used
			out[i].Used = now
		}
	}
	return out
}
