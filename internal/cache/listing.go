package cache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The file listing is derived: what ls shows of each name and root, with stamps of the files that it was read from. It
// makes a listing of many roots cost their stats; lost or damaged, it is made anew from refs/ and actions/.
//
//	rootctl-listing SHA256-OF-THE-REST
//	TAG
//	name TAB root TAB key TAB bytes TAB stamp TAB row

const (
	listingFile  = "listing"
	listingMagic = "rootctl-listing "
)

// A Listed is one name whose root is there, or a root that has none.
type Listed struct {
	Name      string // "" for a root without a name
	Root, Key Digest
	Bytes     int64           // on disk, to about a fiftieth
	Row       json.RawMessage // what the caller made of the record
	stamp     string
}

// Listing lists names in order, then roots without a name. row makes of a ref what the caller wants of it, in one line of
// JSON; tag changes with its form. Whole records are read only of what is new.
func (s *Store) Listing(tag string, row func(Ref) (json.RawMessage, error)) ([]Listed, error) {
	dirs, err := s.listDir("roots")
	if err != nil {
		return nil, fmt.Errorf("list roots: %w", err)
	}
	names, err := s.listDir("refs")
	if err != nil {
		return nil, fmt.Errorf("list names: %w", err)
	}
	old := s.readListing(tag)
	l := &lister{s: s, row: row, known: make(map[string]*Listed, len(old)), there: wholeRoots(dirs)}
	for i := range old {
		l.known[old[i].Name+"\t"+unlessNamed(&old[i])] = &old[i]
	}
	if err := l.names(names); err != nil {
		return nil, err
	}
	if err := l.nameless(dirs); err != nil {
		return nil, err
	}
	if l.changed || len(l.out) != len(old) {
		s.writeListing(tag, l.out)
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

// wholeRoots takes from the sorted names in roots/ those that have a tree and a manifest.
func wholeRoots(names []string) map[Digest]bool {
	there := make(map[Digest]bool, len(names)/2)
	for i, n := range names {
		if i+1 < len(names) && names[i+1] == n+".mtree" && Digest(n).Valid() {
			there[Digest(n)] = true
		}
	}
	return there
}

type lister struct {
	s       *Store
	row     func(Ref) (json.RawMessage, error)
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
		if !ok || json.Unmarshal(raw, &rec) != nil || rec.Kind != "root" && (rec.Kind != "import" || r.Key != "") {
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
	var wg sync.WaitGroup
	half := (len(list) + 1) / 2
	for _, r := range [][2]int{{0, half}, {half, len(list)}} {
		wg.Go(func() {
			for i := r[0]; i < r[1]; i++ {
				d := list[i].Root
				var st unix.Stat_t
				if unix.Lstat(s.path("use", string(d)), &st) != nil && unix.Lstat(s.mtreePath(d), &st) != nil {
					continue
				}
				out[i].Used = time.Unix(st.Mtim.Unix())
				if out[i].Used.After(now) { // as in used
					out[i].Used = now
				}
				out[i].InUse = !s.readOnly && s.looksUsed(d)
			}
		})
	}
	wg.Wait()
	return out
}

// looksUsed is inUse for a list: in three system calls, and a root that goes this moment may seem used.
func (s *Store) looksUsed(d Digest) bool {
	fd, err := unix.Open(s.path("locks", "root-"+string(d)), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return s.flock(fd, unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// ListedRoot is what the listing says of a root, unchecked: the caller looks at the record itself.
func (s *Store) ListedRoot(d Digest) (name string, key Digest, ok bool) {
	b, err := readFile(s.path(listingFile), maxRecord)
	if err != nil {
		return "", "", false
	}
	at := bytes.Index(b, []byte("\t"+string(d)+"\t"))
	if at < 0 {
		return "", "", false
	}
	name = string(b[bytes.LastIndexByte(b[:at], '\n')+1 : at])
	after, _, _ := bytes.Cut(b[at+len(d)+2:], []byte("\t"))
	return name, Digest(after), true
}

// readListing returns nothing if the file is lost, damaged or of another form than tag says.
func (s *Store) readListing(tag string) []Listed {
	b, err := readFile(s.path(listingFile), maxRecord)
	if err != nil {
		return nil
	}
	head, text, _ := strings.Cut(string(b), "\n")
	if head != listingMagic+string(Sum([]byte(text))) {
		return nil
	}
	first, text, _ := strings.Cut(text, "\n")
	if first != tag {
		return nil
	}
	out := make([]Listed, 0, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 6)
		if len(f) != 6 {
			return nil
		}
		n, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return nil
		}
		out = append(out, Listed{Name: f[0], Root: Digest(f[1]), Key: Digest(f[2]), Bytes: n, stamp: f[4], Row: json.RawMessage(f[5])})
	}
	return out
}

// writeListing makes the next listing cheaper; it does no harm if it fails, or is torn by a power cut.
func (s *Store) writeListing(tag string, list []Listed) {
	if s.readOnly || strings.Contains(tag, "\n") {
		return
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, tag)
	for _, l := range list {
		if bytes.ContainsAny(l.Row, "\n\t") {
			return
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%d\t%s\t%s\n", l.Name, l.Root, l.Key, l.Bytes, l.stamp, l.Row)
	}
	f, err := s.createLocked(s.path("tmp", randomName()+".new"), 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_, err = f.Write(slices.Concat([]byte(listingMagic+string(Sum(b.Bytes()))+"\n"), b.Bytes()))
	if err == nil {
		err = os.Rename(f.Name(), s.path(listingFile))
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
