package upper

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// file is a name of the upper directory.
type file struct {
	path string // as in an Entry
	dir  int
	name string
	fd   int // a directory's own
	st   unix.Statx_t
}

func (f *file) kind() uint16 { return f.st.Mode & unix.S_IFMT }

type reader struct {
	ctx      context.Context
	copy     *Copy
	parent   map[string]*snapshot.Entry
	children map[string][]string // of the parent's directories
	mounts   map[string]bool
	links    map[[3]uint64]string
	marks    string // what the overlay's attributes begin with
	count    int
	buf      []byte
	out      Changes
}

func newReader(ctx context.Context, c *Copy) *reader {
	r := &reader{ctx: ctx, copy: c, parent: make(map[string]*snapshot.Entry, len(c.Parent.Entries)), children: map[string][]string{},
		mounts: map[string]bool{}, links: map[[3]uint64]string{}, marks: "trusted.overlay.", buf: make([]byte, maxXattr)}
	if c.UserMarks {
		r.marks = "user.overlay."
	}
	r.out.copy = c
	for i := range c.Parent.Entries {
		e := &c.Parent.Entries[i]
		r.parent[e.Path] = e
		if e.Path != "." {
			dir := path.Dir(e.Path)
			r.children[dir] = append(r.children[dir], path.Base(e.Path))
		}
	}
	for _, m := range c.Mounts {
		r.mounts[path.Clean("/" + m)[1:]] = true
	}
	return r
}

// tally is what became of a directory's names.
type tally struct {
	own   bool // the runner made some
	moved bool // the container added or removed some
	any   bool // something below has changed
}

// dir reads a directory. below says that the parent's of this path, if it is one, shows through.
func (r *reader) dir(f *file, below bool, depth int) (tally, error) {
	if depth > maxDepth {
		return tally{}, &LimitError{fmt.Sprintf("a path of the copy has more than %d parts", maxDepth)}
	}
	marks, attrs, err := r.attributes(f.fd, f.path)
	if err != nil {
		return tally{}, err
	}
	old := r.old(f.path)
	known := old != nil && old.Type == snapshot.TypeDir
	merged := below && known && marks["opaque"] != "y"
	at := len(r.out.entries)
	if below && known && !merged {
		r.out.removed = append(r.out.removed, removal{f.path, true})
	}
	e, err := r.entry(f, snapshot.TypeDir, attrs)
	if err != nil {
		return tally{}, err
	}
	r.out.entries = append(r.out.entries, e)
	t, seen, err := r.names(f, merged, marks["opaque"] == "x", depth)
	if err != nil {
		return t, err
	}
	if known && !merged {
		r.hidden(f.path, seen, &t)
	}
	if f.path == "." {
		t.own = true // the runner made it, and with no time in particular
	}
	return t, r.settle(at, f, old, known, below, &t)
}

// settle decides whether a directory is a change itself.
func (r *reader) settle(at int, f *file, old *snapshot.Entry, known, below bool, t *tally) error {
	e := &r.out.entries[at]
	if !known {
		if t.own && !t.any && len(r.out.entries) == at+1 && e.UID == 0 && e.Mode == 0o755 { // on the way to a mount point
			r.out.entries = r.out.entries[:at]
			return nil
		}
		kind := byte(Added)
		if old != nil {
			kind = Changed
		}
		r.note(kind, f.path)
		t.own, t.any, t.moved = false, true, true
		return nil
	}
	if f.path == "." && len(e.Xattrs) == 0 {
		e.Xattrs = old.Xattrs // the runner makes the top of a copy without
	}
	_, etc := r.copy.Files["/etc/hostname"]
	if t.own && !t.moved || f.path == "etc" && etc && f.st.Mtime.Sec == 0 { // that of the runner's own layer
		e.MTime = old.MTime
	}
	same := e.Mode == old.Mode && e.UID == old.UID && e.GID == old.GID && e.MTime == old.MTime && sameAttrs(e.Xattrs, old.Xattrs)
	if same && below {
		r.out.entries = slices.Delete(r.out.entries, at, at+1)
	}
	if (!same || t.any) && f.path != "." {
		r.note(Changed, f.path)
	}
	t.any = t.any || !same
	t.own, t.moved = false, false
	return nil
}

func (r *reader) names(d *file, merged, marked bool, depth int) (t tally, seen map[string]bool, err error) {
	names, err := readNames(d.fd)
	if err != nil {
		return t, nil, fmt.Errorf("%s: %w", d.path, err)
	}
	seen = make(map[string]bool, len(names))
	for _, n := range names {
		seen[n] = true
		f := &file{path: path.Join(d.path, n), dir: d.fd, name: n, fd: -1}
		sub, err := r.name(f, merged, marked, depth)
		if err != nil {
			return t, nil, err
		}
		t.own, t.moved, t.any = t.own || sub.own, t.moved || sub.moved, t.any || sub.any
	}
	return t, seen, nil
}

// name reads one name and says what it means for its directory.
func (r *reader) name(f *file, merged, marked bool, depth int) (tally, error) {
	if r.count++; r.count > maxEntries {
		return tally{}, &LimitError{fmt.Sprintf("the copy has more than %d names", maxEntries)}
	}
	if err := r.ctx.Err(); err != nil {
		return tally{}, err
	}
	if err := unix.Statx(f.dir, f.name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &f.st); err != nil {
		return tally{}, fmt.Errorf("%s: %w", f.path, err)
	}
	old := r.old(f.path)
	if r.mounts[f.path] {
		return tally{own: true}, nil
	}
	if f.kind() == unix.S_IFCHR && f.st.Rdev_major == 0 && f.st.Rdev_minor == 0 {
		return r.whiteout(f, old, merged), nil
	}
	if f.kind() != unix.S_IFDIR {
		return r.plain(f, old, merged, marked)
	}
	fd, err := unix.Openat(f.dir, f.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return tally{}, fmt.Errorf("%s: %w", f.path, err)
	}
	defer unix.Close(fd)
	f.fd = fd
	return r.dir(f, merged, depth+1)
}

func (r *reader) whiteout(f *file, old *snapshot.Entry, merged bool) tally {
	if !merged || old == nil {
		return tally{own: r.copy.Files["/"+f.path] != nil} // nothing of the root is below: it hid what the runner had put there
	}
	r.out.removed = append(r.out.removed, removal{f.path, false})
	r.note(Deleted, f.path)
	return tally{moved: true, any: true}
}

// plain reads what is no directory.
func (r *reader) plain(f *file, old *snapshot.Entry, merged, marked bool) (tally, error) {
	typ, ok := entryType(f.kind())
	if !ok { // a socket
		r.out.sockets++
		return tally{}, nil
	}
	var attrs map[string]string
	if typ == snapshot.TypeFile {
		fd, err := unix.Openat(f.dir, f.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return tally{}, fmt.Errorf("%s: open: %w", f.path, err)
		}
		defer unix.Close(fd)
		var marks map[string]string
		if marks, attrs, err = r.attributes(fd, f.path); err != nil {
			return tally{}, err
		}
		if _, white := marks["whiteout"]; white && marked && f.st.Size == 0 {
			return r.whiteout(f, old, merged), nil
		}
		if r.ours(fd, f) {
			return tally{own: true}, nil
		}
	}
	e, err := r.entry(f, typ, attrs)
	if err != nil {
		return tally{}, err
	}
	if err := r.detail(f, &e); err != nil {
		return tally{}, err
	}
	r.out.entries = append(r.out.entries, e)
	if old == nil {
		r.note(Added, f.path)
	} else {
		r.note(Changed, f.path)
	}
	// A file that was copied up stands in its directory as before; whatever else is there under the name was put there.
	return tally{any: true, moved: old == nil || old.Type != typ && old.Type != snapshot.TypeHardlink}, nil
}

// hidden notes what an opaque directory no longer has of the root's.
func (r *reader) hidden(dir string, seen map[string]bool, t *tally) {
	for _, n := range r.children[dir] {
		if !seen[n] && !r.mounts[path.Join(dir, n)] {
			r.note(Deleted, path.Join(dir, n))
			t.moved, t.any = true, true
		}
	}
}

// ours says that a file is what the runner wrote there.
func (r *reader) ours(fd int, f *file) bool {
	want, ok := r.copy.Files["/"+f.path]
	if !ok || uint64(len(want)) != f.st.Size {
		return false
	}
	have := make([]byte, len(want))
	n, err := unix.Pread(fd, have, 0)
	return err == nil && n == len(want) && bytes.Equal(have, want)
}

func (r *reader) note(kind byte, p string) {
	r.out.list = append(r.out.list, Change{kind, "/" + p})
}

// old is what the root has at a path: a file's own entry where it is a hard link.
func (r *reader) old(p string) *snapshot.Entry {
	return r.parent[p]
}

func readNames(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			slices.Sort(names)
			return names, nil
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
}
