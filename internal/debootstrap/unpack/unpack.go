package unpack

import (
	"archive/tar"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
)

// newSuffix is where dpkg puts a conffile until it is configured.
const newSuffix = ".dpkg-new"

// Limits bound what one package may make. Zero means the default.
type Limits struct {
	Bytes   int64 // of all files; default 16 GiB
	Members int64 // default 2 million
}

const (
	defaultBytes   = 16 << 30
	defaultMembers = 2 << 20
	maxNames       = 64 << 20 // bytes of all names, which are kept for the .list
)

// Package says how one package's files are to be unpacked.
type Package struct {
	Name      string
	Conffiles map[string]bool // absolute paths
	// ConffilesNew writes conffiles as PATH.dpkg-new, for dpkg --configure to
	// put in place. Otherwise they are written at their path and hashed.
	ConffilesNew bool
	HashAll      bool              // hash every file: the package has no md5sums of its own
	Diversions   map[string]string // path -> where this package's file goes instead
	// Overrides are owners and modes by path that win over the archive's.
	Overrides map[string]Meta
	Replaces  func(a, b string) bool // may package a overwrite b's files?
	IDs       *IDs
	Limits    Limits
}

// Result is what became of a package's members.
type Result struct {
	Package string
	List    []string // the .list, in archive order
	Hashes  []Hash   // of the files that were asked for, in archive order
	Dirs    []Dir
	Links   []string // paths of symbolic links
	Nodes   []Node   // devices and fifos, which are never made in the tree
	Newest  int64    // newest mtime of a member
	Bytes   int64
}

// Hash is a file's MD5 in hex: dpkg's format, not a protection.
type Hash struct{ Path, MD5 string }

// Dir is a directory a package ships.
type Dir struct {
	Path    string
	Meta    Meta
	MTime   int64
	Created bool
}

// Node is a device or fifo a package ships. Path is where it would lie in the
// tree, links resolved.
type Node struct {
	Path         string
	Type         byte // 'c', 'b' or 'p'
	Meta         Meta
	MTime        int64
	Major, Minor uint32
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

// Unpack writes the members of the tar stream r into the tree. Several calls
// may run at once; Settle and ApplyDirs end the round. On an error what had
// been written stays: the caller throws the tree away.
func (t *Tree) Unpack(ctx context.Context, r io.Reader, p *Package) (*Result, error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	w := &writer{
		t: t, p: p, dirs: newDirs(t), buf: *buf,
		res:   &Result{Package: p.Name},
		wrote: map[string]string{}, links: map[string]bool{}, checked: map[string]bool{},
		hashes: map[string]string{},
		bytes:  orDefault(p.Limits.Bytes, defaultBytes),
	}
	defer w.dirs.close()
	tr := tar.NewReader(r)
	members := orDefault(p.Limits.Members, defaultMembers)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // clean judges the path
			return nil, fmt.Errorf("unpack %s: read data archive: %w", p.Name, err)
		}
		if members--; members < 0 {
			return nil, &MemberError{p.Name, h.Name, &TooBig{"members", orDefault(p.Limits.Members, defaultMembers)}}
		}
		if err := w.member(tr, h); err != nil {
			return nil, &MemberError{p.Name, h.Name, err}
		}
	}
	// The end of the compressed stream holds its check sums.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return nil, fmt.Errorf("unpack %s: read data archive: %w", p.Name, err)
	}
	return w.res, nil
}

func orDefault(n, d int64) int64 {
	if n <= 0 {
		return d
	}
	return n
}

// writer unpacks one package.
type writer struct {
	t       *Tree
	p       *Package
	dirs    *dirs
	buf     []byte
	res     *Result
	wrote   map[string]string // path -> the name it was really written at; "" if yielded
	hashes  map[string]string // for hard links
	links   map[string]bool   // symbolic links of this package
	checked map[string]bool   // parents found to be below none of them
	bytes   int64             // still allowed
	names   int               // bytes of names so far
}

// A member that has been read and judged.
type member struct {
	*tar.Header
	path  string // as in the .list
	dst   string // where it goes: diverted, renamed
	meta  Meta
	mtime int64
}

func (w *writer) member(tr *tar.Reader, h *tar.Header) error {
	m, err := w.judge(h)
	if err != nil {
		return err
	}
	if w.names += len(m.path) + len(m.Linkname); w.names > maxNames {
		return &TooBig{"bytes of names", maxNames}
	}
	w.res.Newest = max(w.res.Newest, m.mtime)
	if m.Typeflag == tar.TypeDir {
		if err := w.dir(m); err != nil {
			return err
		}
		w.res.List = append(w.res.List, list(m.path))
		return nil
	}
	if m.path == "/" {
		return errors.New("the tree's top must be a directory")
	}
	kept, err := w.file(tr, m)
	if kept && err == nil {
		w.res.List = append(w.res.List, m.path)
	}
	return err
}

func (w *writer) judge(h *tar.Header) (*member, error) {
	p, err := clean(h.Name)
	if err != nil {
		return nil, err
	}
	uid, gid := w.p.IDs.of(h)
	if uid < 0 || gid < 0 || uid >= maxID || gid >= maxID {
		return nil, fmt.Errorf("owner %d:%d is not an id", uid, gid)
	}
	m := &member{Header: h, path: p, dst: p, meta: Meta{uint32(h.Mode) & 0o7777, uid, gid}}
	if o, ok := w.p.Overrides[p]; ok {
		m.meta = o
	}
	m.mtime = min(max(h.ModTime.Unix(), 0), 1<<34)
	if d, ok := w.p.Diversions[p]; ok {
		m.dst = d
	}
	return m, nil
}

// file unpacks anything but a directory and reports whether it stays in the
// .list.
func (w *writer) file(tr *tar.Reader, m *member) (kept bool, err error) {
	if err := w.throughOwnLink(m.dst); err != nil {
		return false, err
	}
	parent, base := split(m.dst)
	d, err := w.parent(parent)
	if err != nil {
		return false, err
	}
	who := owner{pkg: w.p.Name, path: m.path}
	if m.Typeflag == tar.TypeSymlink {
		who.link = m.Linkname
		if keep, err := w.keepDir(d, base); keep || err != nil {
			w.res.Links = append(w.res.Links, m.dst)
			return true, err
		}
	}
	got, err := w.t.owners.claim(node{d.ino, base}, who, w.p.Replaces)
	if err != nil {
		return false, err
	}
	switch got {
	case yielded:
		w.wrote[m.path] = ""
		return false, nil
	case shared:
		return true, nil
	}
	name := base
	if w.p.ConffilesNew && w.p.Conffiles[m.path] {
		name += newSuffix
	}
	place := place{d: d, parent: parent, name: name, fresh: got == claimed}
	if got == taken {
		place.name = name + tempSuffix
		w.t.owners.later(takeover{node{d.ino, base}, parent, place.name, name, w.p.Name})
	}
	return true, w.make(tr, m, place)
}

// hashing says whether m's content is to be hashed, and with what.
func (w *writer) hashing(m *member) hash.Hash {
	if w.p.HashAll || w.p.Conffiles[m.path] && !w.p.ConffilesNew {
		return md5.New()
	}
	return nil
}

func (w *writer) addHash(path string, h hash.Hash) {
	s := hex.EncodeToString(h.Sum(nil))
	w.hashes[path] = s
	w.res.Hashes = append(w.res.Hashes, Hash{path, s})
}
