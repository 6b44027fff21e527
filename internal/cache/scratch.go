package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Scratch is a folder of the cache for one container at a time, alive while its lock is held as a Temp's is. It is
// kept for the next: on file systems that discard freed blocks at once, each directory removed costs a request to the
// disk.
type Scratch struct {
	Path string // holds nothing, or a directory w that is empty
	lock *os.File
}

// maxScratch bounds how many containers of one cache run at once.
const maxScratch = 1 << 16

// Scratch claims a folder that nobody uses. What a container that ended with its keeper left there is gone.
func (s *Store) Scratch() (*Scratch, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	for n := range maxScratch {
		path := s.path("scratch", strconv.Itoa(n))
		lock, err := s.openScratch(path + ".lock")
		if err == unix.EWOULDBLOCK {
			continue
		}
		if err == nil && isKept(path) {
			lock.Close()
			continue
		}
		if err == nil {
			if err = s.readyScratch(path); err == nil {
				return &Scratch{path, lock}, nil
			}
			lock.Close()
		}
		return nil, fmt.Errorf("make scratch folder: %w", s.fault(err))
	}
	return nil, errors.New("make scratch folder: too many are in use")
}

func (s *Store) openScratch(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		return nil, err
	}
	if err := s.flockFile(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	if !isAt(f, path) { // collected meanwhile
		f.Close()
		return s.openScratch(path)
	}
	return f, nil
}

// readyScratch makes the folder, or empties it: the kernel's own directory w/work is the last thing that a container's
// end removes.
func (s *Store) readyScratch(path string) error {
	err := os.Mkdir(path, 0o700)
	if err == nil || !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, left := range []string{"u", "w/work"} {
		if _, err := os.Lstat(filepath.Join(path, left)); err == nil {
			if err := removeTree(filepath.Join(path, "u")); err != nil {
				return err
			}
			return removeTree(filepath.Join(path, "w"))
		}
	}
	return nil
}

// LockFile is what keeps the folder claimed, as a Temp's does.
func (c *Scratch) LockFile() *os.File { return c.lock }

// Close gives the folder back.
func (c *Scratch) Close() { c.lock.Close() }

// sweepScratch empties a folder that nobody uses and whose container did not come to its end.
func (s *Store) sweepScratch(name string, dry bool) (bool, error) {
	n, ok := strings.CutSuffix(name, ".lock")
	if !ok {
		return false, nil
	}
	path := s.path("scratch", n)
	lock, err := s.openScratch(path + ".lock")
	if err != nil {
		return false, busy(err)
	}
	defer lock.Close()
	if isKept(path) {
		return false, nil
	}
	_, err = os.Lstat(filepath.Join(path, "u"))
	if dry {
		return err == nil, nil
	}
	return err == nil, s.readyScratch(path)
}
