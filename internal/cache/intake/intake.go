// Package intake makes a root of archives that come from anywhere: tars, and the layers of container images.
//
// What it reads is not trusted. It writes below one folder of its own that nobody else writes to, keeps in memory what it
// has made there, and takes from an archive only names whose parents are directories that it made itself: no symlink is
// ever passed through, no name leads outside, and openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS has the kernel see
// to it as well. Sizes, numbers of entries, lengths and depths are bounded.
//
// The result is a folder and the manifest that goes with it: owners, modes, times, attributes and device nodes are the
// archive's whatever the disk can express. Device nodes are only in the manifest.
package intake

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Options are the bounds and surroundings of an Unpacker.
type Options struct {
	MaxSize    int64 // bytes that all files together may have, holes included; 0: 64 GB
	MaxEntries int   // 0: 2 million
	// DiskCannot says that the folder's file system takes no owners but the user's own, and no attributes that need
	// rights: they are in the manifest alone.
	DiskCannot bool
	// Later says that nobody will wait for the disk: it is not asked to write meanwhile.
	Later bool
}

// Bounds that no flag changes. A path of 4,095 bytes may have 2,047 parts; no root has a tenth of it, and every level
// costs those who walk a tree a descriptor.
const (
	defaultSize    = 64 << 30
	defaultEntries = 2 << 20
	maxDepth       = 256
	maxNames       = 256 << 20 // bytes of names, links and attributes, which are kept in memory
	lastSecond     = 15032385535
)

// An Unpacker is a root in the making. Its methods are not for several goroutines.
type Unpacker struct {
	o       Options
	fd      int // of the folder
	root    *node
	layer   int
	entries int
	names   int64
	size    int64 // declared by all files so far, replaced ones included
	dirs    *dirs
	writers *writers
	dropped map[string]int

	canon   *canon
	ordered bool   // all came in canonical order
	last    string // path of the last entry
	spoiled atomic.Bool
	holes   atomic.Bool // a file ends in one
	plain   bool        // new files belong to 0:0 by themselves
	masked  uint32      // bits of a mode that new files do not get
}

// New begins a root in the empty folder dir, which nobody else writes to.
func New(ctx context.Context, dir string, o Options) (*Unpacker, error) {
	if o.MaxSize <= 0 {
		o.MaxSize = defaultSize
	}
	if o.MaxEntries <= 0 {
		o.MaxEntries = defaultEntries
	}
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	if err := unix.Fchmod(fd, 0o700); err != nil { // without setgid, which what is made inside would inherit
		unix.Close(fd)
		return nil, fmt.Errorf("prepare %s: %w", dir, err)
	}
	u := &Unpacker{o: o, fd: fd, ordered: true, dropped: map[string]int{}, canon: newCanon()}
	u.masked = masked(fd)
	u.plain = unix.Geteuid() == 0 && unix.Getegid() == 0
	u.root = &node{meta: snapshot.Entry{Path: ".", Type: snapshot.TypeDir, Mode: 0o755}, children: map[string]*node{}, implied: true}
	u.dirs = newDirs(fd)
	u.writers = startWriters(ctx, u)
	return u, nil
}

// Close ends what is under way and lets go of the folder; after Finish it does the rest.
func (u *Unpacker) Close() {
	u.writers.stop()
	u.canon.stop()
	u.dirs.close()
	unix.Close(u.fd)
}

// Dropped tells what was left out of the archives, by kind: extended attributes that no root keeps, sockets.
func (u *Unpacker) Dropped() map[string]int { return u.dropped }

// Holes reports whether a file ends in a hole: then its size says nothing of whether the disk has all of it.
func (u *Unpacker) Holes() bool { return u.holes.Load() }
