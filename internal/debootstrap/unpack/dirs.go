package unpack

import (
	"golang.org/x/sys/unix"
)

// dirs keeps the last used directories of one worker open: a package's members
// come directory by directory, so nearly every file costs no resolution at
// all. A directory is never removed or renamed while packages are unpacked, so
// an fd stays right once it is.
type dirs struct {
	t    *Tree
	open map[string]*dir
	now  uint64
}

type dir struct {
	fd   int
	ino  uint64
	used uint64
}

const keptDirs = 64

func newDirs(t *Tree) *dirs {
	return &dirs{t: t, open: make(map[string]*dir, keptDirs)}
}

// get returns the directory of a clean path. It is good until keptDirs others
// have been asked for.
func (d *dirs) get(name string) (*dir, error) {
	d.now++
	if e, ok := d.open[name]; ok {
		e.used = d.now
		return e, nil
	}
	fd, err := d.t.openDir(name)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	d.makeRoom()
	e := &dir{fd: fd, ino: st.Ino, used: d.now}
	d.open[name] = e
	return e, nil
}

func (d *dirs) makeRoom() {
	if len(d.open) < keptDirs {
		return
	}
	oldest, at := "", d.now+1
	for name, e := range d.open {
		if e.used < at {
			oldest, at = name, e.used
		}
	}
	unix.Close(d.open[oldest].fd)
	delete(d.open, oldest)
}

func (d *dirs) close() {
	for _, e := range d.open {
		unix.Close(e.fd)
	}
	d.open = nil
}
