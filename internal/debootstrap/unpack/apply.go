package unpack

import (
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Seed makes the tree's first directories, root's and 0755, and for each name
// of links a link NAME -> usr/NAME, with the directory it leads to. Those of
// lazy come into being when a package ships something below /NAME.
func (t *Tree) Seed(dirs, links, lazy []string) error {
	if err := unix.Fchmod(t.fd, 0o755); err != nil {
		return err
	}
	for _, d := range dirs {
		if err := t.MkdirAll(d, Meta{Mode: 0o755}); err != nil {
			return fmt.Errorf("seed tree: %w", err)
		}
	}
	t.layout.Lock()
	defer t.layout.Unlock()
	for _, l := range links {
		if err := t.seedLink(l); err != nil {
			return fmt.Errorf("seed tree: %w", err)
		}
	}
	t.lazy = map[string]bool{}
	for _, l := range lazy {
		t.lazy[l] = true
	}
	return nil
}

func (t *Tree) seedLink(name string) error {
	if err := t.MkdirAll("/usr/"+name, Meta{Mode: 0o755}); err != nil {
		return err
	}
	if _, err := t.Symlink("usr/"+name, "/"+name); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(t.fd, &st); err != nil {
		return err
	}
	t.owners.set(node{st.Ino, name}, owner{pkg: layoutOwner, path: "/" + name, link: "usr/" + name})
	return nil
}

// seedLazily makes the link that path p begins with, if it is one of Seed's
// lazy ones.
func (t *Tree) seedLazily(p string) error {
	top, _, _ := strings.Cut(p[1:], "/")
	t.layout.Lock()
	defer t.layout.Unlock()
	if !t.lazy[top] {
		return nil
	}
	delete(t.lazy, top)
	if t.Exists("/" + top) {
		return nil
	}
	return t.seedLink(top)
}

// Round is the packages unpacked since the last one, for ApplyDirs.
type Round struct {
	Results  []*Result
	Required map[string]bool // by package; the others change no directory that was there
	LastWins bool            // where modes disagree the last in name order wins, as with tar; else the first
	First    string          // package that goes before all others, if any
}

// ApplyDirs gives the directories of a round their owners, modes and times,
// independently of the order in which the packages were unpacked.
func (t *Tree) ApplyDirs(r Round) error {
	if err := r.linkOverDir(); err != nil {
		return err
	}
	res := append([]*Result(nil), r.Results...)
	sort.Slice(res, func(i, j int) bool {
		a, b := res[i].Package, res[j].Package
		if ra, rb := r.Required[a], r.Required[b]; ra != rb {
			return ra // required ones first: a base package never overrules them
		}
		if fa, fb := a == r.First, b == r.First; fa != fb {
			return fa
		}
		return a < b
	})
	a := applier{t: t, made: map[string]uint64{}, todo: map[uint64]*dirMeta{}}
	for _, x := range res {
		for i := range x.Dirs {
			if err := a.add(&x.Dirs[i], r, r.Required[x.Package]); err != nil {
				return fmt.Errorf("unpack %s: %w", x.Package, err)
			}
		}
	}
	return a.apply()
}

type dirMeta struct {
	path  string
	meta  Meta
	known bool
	set   bool // meta is to be applied
	mtime int64
}

type applier struct {
	t    *Tree
	made map[string]uint64 // path -> inode
	todo map[uint64]*dirMeta
}

func (a *applier) add(d *Dir, r Round, required bool) error {
	ino, ok := a.made[d.Path]
	if !ok {
		fd, err := a.t.openDir(d.Path)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		ino = st.Ino
		a.made[d.Path] = ino
	}
	m := a.todo[ino]
	if m == nil {
		m = &dirMeta{path: d.Path}
		a.todo[ino] = m
	}
	if !m.known || required {
		m.mtime = d.MTime
	}
	// Required packages come before any script has run: they set what they name.
	// Base packages set only what was made in this round.
	if !m.known || required && r.LastWins {
		m.meta = d.Meta
	}
	m.known = true
	m.set = m.set || required || d.Created
	return nil
}

func (a *applier) apply() error {
	for _, m := range a.todo {
		fd, err := a.t.openDir(m.path)
		if err != nil {
			return err
		}
		if m.set {
			err = a.t.setMeta(fd, m.meta)
		}
		if err == nil {
			ts := []unix.Timespec{unix.NsecToTimespec(m.mtime * 1e9), unix.NsecToTimespec(m.mtime * 1e9)}
			err = unix.UtimesNanoAt(fd, ".", ts, 0)
		}
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("directory %s: %w", m.path, err)
		}
	}
	return nil
}

// linkOverDir finds a name that one package of the round ships as a directory
// and another as a symbolic link. Which of the two stood there in the end would
// depend on who came first.
func (r *Round) linkOverDir() error {
	dirs := map[string]string{}
	for _, x := range r.Results {
		for i := range x.Dirs {
			dirs[x.Dirs[i].Path] = x.Package
		}
	}
	for _, x := range r.Results {
		for _, l := range x.Links {
			if p, ok := dirs[l]; ok && p != x.Package && x.Package != r.First {
				return &MemberError{x.Package, l, fmt.Errorf("a symbolic link here, but a directory in package %s", p)}
			}
		}
	}
	return nil
}
