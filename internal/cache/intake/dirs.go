package intake

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// dirs keeps the directories used last open: an archive comes directory by directory. A handle may outlive its place here
// while a writer uses it.
type dirs struct {
	root int
	open map[string]*dirFD
	now  uint64
}

type dirFD struct {
	fd   int
	refs atomic.Int32
	used uint64
}

const keptDirs = 64

func newDirs(root int) *dirs { return &dirs{root: root, open: make(map[string]*dirFD, keptDirs)} }

// get returns the directory path with a reference that the caller gives back by release.
func (d *dirs) get(path string) (*dirFD, error) {
	d.now++
	h, ok := d.open[path]
	if !ok {
		fd, err := openBeneath(d.root, path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		if len(d.open) >= keptDirs {
			d.forget(d.oldest())
		}
		h = &dirFD{fd: fd}
		h.refs.Store(1)
		d.open[path] = h
	}
	h.used = d.now
	h.refs.Add(1)
	return h, nil
}

func (d *dirs) oldest() string {
	name, at := "", d.now+1
	for path, h := range d.open {
		if h.used < at {
			name, at = path, h.used
		}
	}
	return name
}

func (d *dirs) forget(path string) {
	if h, ok := d.open[path]; ok {
		delete(d.open, path)
		h.release()
	}
}

// reset forgets all, before directories are removed.
func (d *dirs) reset() {
	for path := range d.open {
		d.forget(path)
	}
}

func (d *dirs) close() { d.reset() }

func (h *dirFD) release() {
	if h.refs.Add(-1) == 0 {
		unix.Close(h.fd)
	}
}

// openBeneath opens a path below root without passing through a symlink.
func openBeneath(root int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	for {
		fd, err := unix.Openat2(root, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}
