// Package upper reads what a container has changed in its copy of a root: the upper directory of an overlay.
//
// It is read as it lies on the disk and never mounted again, which the overlay's option volatile forbids. What the
// overlay writes there is understood: whiteouts (devices 0:0, and empty files with an attribute, in directories that say
// so), opaque directories, its other attributes. Ids are the container's again, in access control lists, too, and a file
// capability that holds in the container's user namespace becomes a plain one. What the runner itself has put into the
// copy, such as mount points, is left out.
//
// The container that wrote all this is not trusted: the walk goes by directory descriptors, follows no link, opens
// nothing but files and directories, and is bounded.
package upper

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Copy says where a container's changes lie and how to read them.
type Copy struct {
	Dir    string             // the upper directory
	Parent *snapshot.Manifest // of the root below it

	// Base and Size are the host's ids for the container's 0 to Size-1; Size 0 means that they are the same.
	Base, Size uint32
	// UserMarks: the overlay's attributes are user.overlay.*, as in a user's namespace, and not trusted.overlay.*.
	UserMarks bool
	// SingleID: the disk knows no owners. What Parent has keeps its own, what is new belongs to root.
	SingleID bool

	// Mounts are where the runner mounted something; what lies there is its own.
	Mounts []string
	// Files are what the runner wrote into the copy, by path. One that was changed since is the container's.
	Files map[string][]byte
}

// Kinds of a Change, as docker diff has them.
const (
	Added   = 'A'
	Changed = 'C'
	Deleted = 'D'
)

// A Change is a name that the copy has otherwise than its root.
type Change struct {
	Kind byte
	Path string // begins with /
}

// Bounds of a copy, those of an import.
const (
	maxEntries = 2 << 20
	maxDepth   = 256
	maxXattr   = 64 << 10
)

// Changes are a copy's differences from its root.
type Changes struct {
	copy    *Copy
	list    []Change
	removed []removal
	entries []snapshot.Entry // to be made or described anew, directories before what is in them
	sockets int
}

// removal takes away a name, or what is in it.
type removal struct {
	path     string
	contents bool
}

// Read finds what c has changed. Nothing may write to it meanwhile.
func Read(ctx context.Context, c *Copy) (*Changes, error) {
	root, err := unix.Open(c.Dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read the copy: open %s: %w", c.Dir, err)
	}
	defer unix.Close(root)
	r := newReader(ctx, c)
	f := &file{path: ".", fd: root}
	if err := unix.Statx(root, "", unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, &f.st); err != nil {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	if _, err := r.dir(f, true, 0); err != nil {
		return nil, fmt.Errorf("read the copy: %w", err)
	}
	return &r.out, nil
}

// List gives the changes, sorted by path.
func (c *Changes) List() []Change {
	slices.SortFunc(c.list, func(a, b Change) int { return strings.Compare(a.Path, b.Path) })
	return c.list
}

// Sockets is how many sockets the copy has: no root keeps one.
func (c *Changes) Sockets() int { return c.sockets }

// None says that the copy is its root.
func (c *Changes) None() bool { return len(c.removed) == 0 && len(c.entries) == 0 }
