package snapshot

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Settle makes tree look as m says, as far as a sealed tree should: device nodes (they live in m and in
// tars only) and sockets go, times are set. A name that m does not know means that the tree was changed
// after Scan, and is an error. A device or fifo that only m has stays so.
func (m *Manifest) Settle(tree string) error {
	s := &settler{entries: m.Entries}
	err := walk(tree, s.visit, s.leave)
	if err == nil {
		err = s.pass("")
	}
	if err != nil {
		return fmt.Errorf("settle %s: %w", tree, err)
	}
	return nil
}

type settler struct {
	entries []Entry // from the one after the last that was met
	dirs    []Entry // those open now
}

func (s *settler) visit(f *found) error {
	if err := s.pass(f.path); err != nil {
		return err
	}
	known := len(s.entries) > 0 && s.entries[0].Path == f.path
	var e Entry
	if known {
		e = s.entries[0]
		s.entries = s.entries[1:]
	}
	switch {
	case f.device() || f.kind() == unix.S_IFSOCK || e.Type == TypeChar || e.Type == TypeBlock:
		return unix.Unlinkat(f.dir, f.name, 0)
	case !known:
		return fmt.Errorf("%s is new", f.path)
	case f.fd >= 0:
		s.dirs = append(s.dirs, e) // its time comes last: an unlink in it would change it
		return nil
	}
	return setTime(f, f.dir, f.name, e.MTime)
}

// pass skips the entries before path, all if path is empty: only those that may be missing.
func (s *settler) pass(path string) error {
	for len(s.entries) > 0 && (path == "" || compare(s.entries[0].Path, path) < 0) {
		if !s.entries[0].special() {
			return fmt.Errorf("%s is gone", s.entries[0].Path)
		}
		s.entries = s.entries[1:]
	}
	return nil
}

func (s *settler) leave(f *found) error {
	e := s.dirs[len(s.dirs)-1]
	s.dirs = s.dirs[:len(s.dirs)-1]
	if err := unix.Statx(f.fd, "", unix.AT_EMPTY_PATH, statMask, &f.st); err != nil {
		return err
	}
	return setTime(f, f.fd, ".", e.MTime)
}

// setTime touches only what differs: most of a tree has its packages' times already.
func setTime(f *found, dir int, name string, sec int64) error {
	if f.st.Mtime.Sec == sec && f.st.Mtime.Nsec == 0 {
		return nil
	}
	ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: sec}}
	if err := unix.UtimesNanoAt(dir, name, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time of %s: %w", f.path, err)
	}
	return nil
}
