package unpack

import (
	"fmt"
	"sort"
	"sync"

	"golang.org/x/sys/unix"
)

// owners says which package a file in the tree came from. Files are known by
// directory inode and name, so /bin/x and /usr/bin/x of a merged tree are one.
type owners struct {
	mu       sync.Mutex
	files    map[node]owner
	dirs     map[string]bool // paths known to be directories, as packages name them
	deferred []takeover
	lost     []Lost
}

type node struct {
	dir  uint64
	name string
}

type owner struct {
	pkg, path string
	link      string // target, for a symbolic link
}

// takeover is a file that replaces another package's: it waits under a name of
// its own until no worker is writing, whichever of the two came first.
type takeover struct {
	at         node
	dir        string
	temp, base string
	pkg        string
}

// Lost is a path that Package shipped but By, which Replaces it, took over: it
// leaves Package's .list.
type Lost struct{ Package, Path, By string }

// layoutOwner owns what Seed made: no package may turn it into something else.
const layoutOwner = "(layout)"

func (o *owners) init() {
	o.files = make(map[node]owner, 8192)
	o.dirs = make(map[string]bool, 1024)
}

type claim int

const (
	claimed claim = iota // the name is the package's
	shared               // the same link is there already
	yielded              // the one that has it replaces the package: leave it alone
	taken                // the package replaces the one that has it
)

// claim asks for a name on behalf of w; replaces(a, b) says whether package a
// may overwrite b's files.
func (o *owners) claim(n node, w owner, replaces func(a, b string) bool) (claim, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	have, ok := o.files[n]
	switch {
	case !ok:
		o.files[n] = w
		return claimed, nil
	case have.link != "" && have.link == w.link:
		return shared, nil
	case have.pkg == w.pkg:
		return 0, fmt.Errorf("the package ships %s twice", have.path)
	case have.pkg == layoutOwner:
		return 0, fmt.Errorf("%s is part of the tree's layout", have.path)
	case replaces(w.pkg, have.pkg):
		o.files[n] = w
		o.lost = append(o.lost, Lost{have.pkg, have.path, w.pkg})
		return taken, nil
	case replaces(have.pkg, w.pkg):
		o.lost = append(o.lost, Lost{w.pkg, w.path, have.pkg})
		return yielded, nil
	}
	return 0, &Conflict{Path: w.path, Other: have.pkg}
}

func (o *owners) set(n node, w owner) {
	o.mu.Lock()
	o.files[n] = w
	o.mu.Unlock()
}

func (o *owners) isDir(p string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dirs[p]
}

func (o *owners) addDir(p string) {
	o.mu.Lock()
	o.dirs[p] = true
	o.mu.Unlock()
}

func (o *owners) later(t takeover) {
	o.mu.Lock()
	o.deferred = append(o.deferred, t)
	o.mu.Unlock()
}

// Settle ends a round of Unpack calls, once none is running: files that replace
// other packages' move into place. It returns what changed hands since the
// last call, sorted.
func (t *Tree) Settle() ([]Lost, error) {
	t.owners.mu.Lock()
	defer t.owners.mu.Unlock()
	for _, k := range t.owners.deferred {
		if err := t.settle(k); err != nil {
			return nil, &MemberError{Package: k.pkg, Member: k.dir + "/" + k.base, Err: err}
		}
	}
	lost := t.owners.lost
	t.owners.deferred, t.owners.lost = nil, nil
	sort.Slice(lost, func(i, j int) bool {
		a, b := lost[i], lost[j]
		if a.Package != b.Package {
			return a.Package < b.Package
		}
		return a.Path < b.Path
	})
	return lost, nil
}

func (t *Tree) settle(k takeover) error {
	fd, err := t.openDir(k.dir)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if t.owners.files[k.at].pkg != k.pkg { // taken over again by a third
		return unix.Unlinkat(fd, k.temp, 0)
	}
	return unix.Renameat(fd, k.temp, fd, k.base)
}
