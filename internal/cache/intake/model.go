package intake

import (
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// A node is a name that has been made in the folder, or, for a device, would be.
type node struct {
	meta     snapshot.Entry // of a file: its content's
	content  *content       // files only; shared by hardlinks
	children map[string]*node
	layer    int  // that made it, or spoke of it last
	hidden   int  // one more than the layer that last removed what lower ones have put below it
	implied  bool // a directory that no entry speaks of
}

// content is what the names of one file share.
type content struct {
	meta snapshot.Entry // Path is that of its first name
	sum  snapshot.Digest
}

func (n *node) isDir() bool { return n.meta.Type == snapshot.TypeDir }
func (n *node) isDevice() bool {
	return n.meta.Type == snapshot.TypeChar || n.meta.Type == snapshot.TypeBlock
}

// lookup finds a path, nil if there is none. It passes through nothing but directories.
func (u *Unpacker) lookup(path string) *node {
	if path == "." {
		return u.root
	}
	n := u.root
	for part := range parts(path) {
		if n = n.children[part]; n == nil {
			return nil
		}
	}
	return n
}

// parent gives the directory that path lies in. Missing ones are made: root's, 0755, of 1970.
func (u *Unpacker) parent(path string) (*node, error) {
	dir, _ := split(path)
	if n := u.lookup(dir); n != nil && n.isDir() {
		return n, nil
	}
	n, at := u.root, ""
	for part := range parts(dir) {
		at = join(at, part)
		child := n.children[part]
		if child == nil {
			e := snapshot.Entry{Path: at, Type: snapshot.TypeDir, Mode: 0o755}
			if err := snapshot.CheckEntry(&e); err != nil {
				return nil, refuse("%v", err)
			}
			if err := u.mkdir(at); err != nil {
				return nil, err
			}
			child = &node{meta: e, children: map[string]*node{}, layer: u.layer, implied: true}
			n.children[part] = child
			u.ordered = false
			if err := u.count(int64(len(at))); err != nil {
				return nil, err
			}
		}
		if !child.isDir() {
			return nil, refuse("%s is %s, and nothing can lie below it", quoted(at), kind(child.meta.Type))
		}
		n = child
	}
	return n, nil
}

func kind(t byte) string {
	switch t {
	case snapshot.TypeSymlink:
		return "a symbolic link"
	case snapshot.TypeDir:
		return "a directory"
	case snapshot.TypeFile:
		return "a file"
	}
	return "no directory"
}

func join(dir, base string) string {
	if dir == "" || dir == "." {
		return base
	}
	return dir + "/" + base
}

// parts yields the parts of a clean path.
func parts(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		if path == "." {
			return
		}
		for path != "" {
			part, rest := path, ""
			for i := range len(path) {
				if path[i] == '/' {
					part, rest = path[:i], path[i+1:]
					break
				}
			}
			if !yield(part) {
				return
			}
			path = rest
		}
	}
}

// makeRoom takes away what stands where an entry is to be made: a later one wins. A directory with something in it that
// this archive made is not taken away, as tar does not either.
func (u *Unpacker) makeRoom(in *node, path, base string) error {
	old := in.children[base]
	if old == nil {
		return nil
	}
	u.ordered = false
	if old.isDir() {
		if err := u.hide(old, path); err != nil {
			return err
		}
		if len(old.children) > 0 {
			return refuse("a directory that is not empty has that name")
		}
	}
	return u.remove(in, path, base)
}

// hide removes what lower layers have put below a directory.
func (u *Unpacker) hide(n *node, path string) error {
	if n.hidden == u.layer+1 {
		return nil // once is enough: what came since is this layer's own
	}
	n.hidden = u.layer + 1
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		if err := u.whiteout(n, join(path, base), base); err != nil {
			return err
		}
	}
	return nil
}

// whiteout removes a name as far as lower layers made it.
func (u *Unpacker) whiteout(in *node, path, base string) error {
	n := in.children[base]
	if n == nil {
		return nil
	}
	u.ordered = false
	if n.isDir() {
		if err := u.hide(n, path); err != nil {
			return err
		}
	}
	if n.layer == u.layer || len(n.children) > 0 {
		return nil
	}
	return u.remove(in, path, base)
}

// remove takes one name off the folder and out of the model; a directory is empty by now.
func (u *Unpacker) remove(in *node, path, base string) error {
	if err := u.writers.wait(); err != nil {
		return err
	}
	n := in.children[base]
	if !n.isDevice() {
		dir, _ := split(path)
		d, err := u.dirs.get(dir)
		if err != nil {
			return err
		}
		defer d.release()
		flags := 0
		if n.isDir() {
			flags = unix.AT_REMOVEDIR
			u.dirs.forget(path)
		}
		if err := unix.Unlinkat(d.fd, base, flags); err != nil {
			return err
		}
	}
	delete(in.children, base)
	return nil
}

func (u *Unpacker) mkdir(path string) error {
	dir, base := split(path)
	d, err := u.dirs.get(dir)
	if err != nil {
		return err
	}
	defer d.release()
	return unix.Mkdirat(d.fd, base, 0o700)
}

// count adds an entry and the bytes of memory that it keeps.
func (u *Unpacker) count(names int64) error {
	if u.entries++; u.entries > u.o.MaxEntries {
		return &LimitError{"entries", int64(u.o.MaxEntries), "no root has as many: look at what the archive holds"}
	}
	if u.names += names; u.names > maxNames {
		return &LimitError{"bytes of names and attributes", maxNames, "no root has as many: look at what the archive holds"}
	}
	return nil
}
