package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Sweep removes what killed processes left, by the rule that a thing lives exactly while its lock is
// held: temporary folders and files, trash, and what is left of roots that were half published or half
// removed. It returns how many things it removed. Any number may run at once, beside any other work.
//
// The part of a broken download is left the first time, so that a next try can go on with it, and taken
// the second time if none did. (Counted in sweeps, not in hours: clocks are not to be trusted.)
func (s *Store) Sweep() (int, error) {
	if s.readOnly {
		return 0, nil
	}
	found, err := s.sweep(false)
	return len(found), err
}

// sweep removes the dead, or if dry only finds them, and returns what they were by path from the cache's folder.
func (s *Store) sweep(dry bool) ([]string, error) {
	var found []string
	var errs []error
	for _, step := range []struct {
		folder string
		remove func(name string, dry bool) (bool, error)
	}{{"tmp", s.sweepTemp}, {"trash", s.sweepTrash}, {"scratch", s.sweepScratch}, {"roots", s.sweepRoot}, {"use", s.sweepRoot}, {"locks", s.sweepRoot}} {
		names, err := s.listDir(step.folder)
		errs = append(errs, err)
		for _, name := range names {
			removed, err := step.remove(name, dry)
			if removed {
				found = append(found, step.folder+"/"+name)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrBusy) {
				errs = append(errs, err)
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return found, fmt.Errorf("sweep cache: %w", err)
	}
	return found, nil
}

func (s *Store) sweepTrash(name string, dry bool) (bool, error) {
	if dry {
		return true, nil
	}
	return true, removeTree(s.path("trash", name))
}

func (s *Store) sweepTemp(name string, dry bool) (bool, error) {
	base, isLock := strings.CutSuffix(name, ".lock")
	if d, ok := strings.CutSuffix(name, ".part"); ok && Digest(d).Valid() {
		return s.sweepPart(Digest(d), dry)
	}
	path := s.path("tmp", name)
	if st, err := os.Lstat(path); err != nil {
		return false, err
	} else if st.IsDir() {
		if _, err := os.Lstat(path + ".lock"); err == nil {
			return false, nil // its lock's turn comes
		}
		if dry {
			return true, nil
		}
		return true, removeTree(path) // cannot come about: the lock is made first and removed last
	}
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() { // nothing of ours, and nobody's lock
		if dry {
			return true, nil
		}
		return true, os.Remove(path)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	if err := s.flockFile(f, unix.LOCK_EX|unix.LOCK_NB); err != nil || !isAt(f, path) {
		return false, busy(err)
	}
	if dry {
		return true, nil
	}
	if isLock {
		if err := removeTree(s.path("tmp", base)); err != nil {
			return false, err
		}
	}
	return true, os.Remove(path)
}

func busy(err error) error {
	if err == unix.EWOULDBLOCK {
		return ErrBusy
	}
	return err
}

func (s *Store) sweepPart(d Digest, dry bool) (bool, error) {
	l, err := s.openLock(blobLock(d))
	if err != nil {
		return false, err
	}
	defer l.Close()
	if err := s.flockFile(l, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, busy(err)
	}
	st, err := os.Lstat(s.partPath(d))
	if err != nil {
		return false, err
	}
	seen := st.Mode().Perm() == partSeen || st.Size() == 0
	if dry {
		return seen, nil
	}
	if !seen {
		return false, os.Chmod(s.partPath(d), partSeen)
	}
	return true, os.Remove(s.partPath(d))
}

// sweepRoot takes a name in roots/, use/ or locks/ and removes the root that it is about if that is not
// whole and nobody is at it.
func (s *Store) sweepRoot(name string, dry bool) (bool, error) {
	d := rootNamed(name)
	if !d.Valid() {
		return false, nil
	}
	stale := s.staleManifest(name)
	if s.hasRoot(d) {
		if stale && !dry {
			return true, os.Remove(s.path("roots", name))
		}
		return stale, nil
	}
	if dry {
		return !s.inUse(d), nil
	}
	trash, err := s.unlinkRoot(d, true)
	if err == nil && trash != "" {
		err = removeTrash(trash)
	}
	if err == nil && stale {
		err = os.Remove(s.path("roots", name))
	}
	return err == nil, err
}
