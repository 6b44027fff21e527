package cache

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The file listing is derived: what ls shows of each name and root, with stamps of the files that it was read from, and of
// their folders. While the folders' stamps are the same, so is all else; else a listing of many roots costs their stats.
// Lost or damaged, it is made anew from refs/ and actions/.
//
//	rootctl-listing SHA256-OF-THE-REST
//	TAG
//	stamps of roots/, refs/ and actions/, or nothing
//	name TAB root TAB key TAB bytes TAB stamp TAB row

const (
	listingFile  = "listing"
	listingMagic = "rootctl-listing "
)

// settled is how old a change of a folder must be before its stamp stands for what is in it: a later one within the same
// tick of the clock that times files, 10 ms at most, would have the same stamp.
const settled = 100 * time.Millisecond

// listingStamps tells the state of the folders that a listing is derived from, "" where it cannot be told. It is taken
// before they are read. The time is that of the last change of the inode, which nobody can set. Clocks that jump do no
// harm: a change that seems to come is not settled.
func (s *Store) listingStamps() string {
	var b []byte
	before := time.Now().Add(-settled) // the system's, as the stamps are
	for _, folder := range [...]string{"roots", "refs", "actions"} {
		var st unix.Stat_t
		if unix.Lstat(s.path(folder), &st) != nil || time.Unix(st.Ctim.Unix()).After(before) {
			return ""
		}
		for _, n := range [...]int64{int64(st.Dev), int64(st.Ino), int64(st.Nlink), st.Size, st.Ctim.Sec, st.Ctim.Nsec} {
			b = append(strconv.AppendInt(b, n, 36), '.')
		}
	}
	return string(b) + s.boot() // roots of another one are not there
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

// readListing returns nothing if the file is lost, damaged or of another form than tag says, else also the stamps of the
// folders.
func (s *Store) readListing(tag string) ([]Listed, string) {
	b, err := readFile(s.path(listingFile), maxRecord)
	if err != nil {
		return nil, ""
	}
	head, rest, _ := bytes.Cut(b, []byte("\n"))
	if string(head) != listingMagic+string(Sum(rest)) {
		return nil, ""
	}
	first, text, _ := strings.Cut(string(rest), "\n")
	stamps, text, ok := strings.Cut(text, "\n")
	if first != tag || !ok {
		return nil, ""
	}
	out := make([]Listed, 0, strings.Count(text, "\n"))
	for text != "" {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		var f [5]string
		for i := range f {
			if f[i], line, ok = strings.Cut(line, "\t"); !ok {
				return nil, ""
			}
		}
		n, err := strconv.ParseInt(f[3], 10, 64)
		if err != nil {
			return nil, ""
		}
		out = append(out, Listed{Name: f[0], Root: Digest(f[1]), Key: Digest(f[2]), Bytes: n, stamp: f[4], Row: line})
	}
	return out, stamps
}

// writeListing makes the next listing cheaper; it does no harm if it fails, or is torn by a power cut.
func (s *Store) writeListing(tag, stamps string, list []Listed) {
	if s.readOnly || strings.Contains(tag, "\n") {
		return
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s\n", tag, stamps)
	for _, l := range list {
		if strings.Contains(l.Row, "\n") {
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
