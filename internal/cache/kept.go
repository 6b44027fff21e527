package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A kept copy is a scratch folder N with a file N.kept beside it that holds the digest of the root it stands on. Whoever
// makes that file holds the folder's lock. While it is there, after a start of the machine too, no container claims the
// folder, and no collection takes it or its root. N.container, if there, is what its container's monitor says of it.

func keptMark(path string) string { return path + ".kept" }

func keptNote(path string) string { return path + ".container" }

func isKept(path string) bool {
	_, err := os.Lstat(keptMark(path))
	return !errors.Is(err, fs.ErrNotExist) // what cannot be looked at is left alone
}

// Keep makes the folder, which must be claimed, survive its container: until Discard. The caller holds a lease of root.
func (c *Scratch) Keep(root Digest) error {
	f, err := os.OpenFile(keptMark(c.Path)+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err == nil {
		_, err = f.WriteString(string(root))
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Rename(f.Name(), keptMark(c.Path))
	}
	if err != nil {
		return fmt.Errorf("keep scratch folder: %w", err)
	}
	return nil
}

// A KeptCopy is one as it lies there.
type KeptCopy struct {
	Path string
	Root Digest
	Made time.Time
	Note []byte // nil if nobody wrote one
}

// maxNote bounds what is read of a note.
const maxNote = 16 << 20

// KeptCopies lists the kept copies of all containers, ended or not.
func (s *Store) KeptCopies() ([]KeptCopy, error) {
	names, err := s.listDir("scratch")
	if err != nil {
		return nil, err
	}
	var list []KeptCopy
	for _, n := range names {
		n, ok := strings.CutSuffix(n, ".kept")
		if path := s.path("scratch", n); ok && s.isScratch(path) {
			k := KeptCopy{Path: path}
			st, err := os.Lstat(keptMark(path))
			if err != nil {
				continue // it goes
			}
			b, err := readSmall(keptMark(path), 128)
			if k.Root = Digest(b); err != nil || !k.Root.Valid() {
				continue
			}
			k.Made = st.ModTime()
			k.Note, _ = readSmall(keptNote(path), maxNote) // without it there is still the copy
			list = append(list, k)
		}
	}
	return list, nil
}

// Size is what the copy takes on disk, as far as the caller may look.
func (k *KeptCopy) Size() int64 { return treeBytes(k.Path) }

// Annotate gives a kept copy, which the caller has locked, a note.
func (s *Store) Annotate(path string, note []byte) error {
	if s.readOnly {
		return ErrReadOnly
	}
	if !s.isScratch(path) || !isKept(path) {
		return ErrNotFound
	}
	err := os.WriteFile(keptNote(path)+".new", note, 0o600)
	if err == nil {
		err = os.Rename(keptNote(path)+".new", keptNote(path))
	}
	if err != nil {
		return fmt.Errorf("note whose copy %s is: %w", path, err)
	}
	return nil
}

func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// LockKept keeps a kept copy, by its path, from being removed while the file is open. It gives ErrBusy while its container
// or keeper, or another reader, has it, and ErrNotFound if it is gone.
func (s *Store) LockKept(path string) (*os.File, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	if !s.isScratch(path) {
		return nil, fmt.Errorf("%s is no scratch folder of the cache %s", path, s.dir)
	}
	lock, err := s.lockEnded(path)
	if err != nil {
		return nil, busy(err)
	}
	if !isKept(path) {
		lock.Close()
		return nil, ErrNotFound
	}
	return lock, nil
}

// LockKeptNow is LockKept without waiting for a keeper.
func (s *Store) LockKeptNow(path string) (*os.File, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	lock, err := s.openScratch(path + ".lock")
	if err != nil {
		return nil, busy(err)
	}
	if !isKept(path) {
		lock.Close()
		return nil, ErrNotFound
	}
	return lock, nil
}

// lockEnded locks the folder of a container that has ended: its keeper, which lets go of several locks, may have this one
// for a moment still.
func (s *Store) lockEnded(path string) (*os.File, error) {
	for try := 0; ; try++ {
		lock, err := s.openScratch(path + ".lock")
		if err != unix.EWOULDBLOCK || try == 50 {
			return lock, err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *Store) isScratch(path string) bool {
	n := filepath.Base(path)
	return n != "" && strings.Trim(n, "0123456789") == "" && path == s.path("scratch", n)
}

// Discard removes a kept copy by its path, one of this cache's scratch folders; ErrBusy while its container or keeper
// has it. What is gone already is no error.
func (s *Store) Discard(path string) error {
	if s.readOnly {
		return ErrReadOnly
	}
	if !s.isScratch(path) {
		return fmt.Errorf("discard copy: %s is no scratch folder of the cache %s", path, s.dir)
	}
	if !isKept(path) { // the folder may be another container's by now
		return nil
	}
	lock, err := s.lockEnded(path)
	if err != nil {
		return fmt.Errorf("discard copy %s: %w", path, busy(err))
	}
	defer lock.Close()
	if !isKept(path) {
		return nil
	}
	err = s.readyScratch(path)
	if err == nil {
		_ = os.Remove(keptNote(path)) // says nothing without the mark
		err = os.Remove(keptMark(path))
	}
	if err != nil {
		return fmt.Errorf("discard copy: %w", s.fault(err))
	}
	return nil
}

// isUnderCopy says whether a kept copy stands on root d.
func (s *Store) isUnderCopy(d Digest) (bool, error) {
	names, err := s.listDir("scratch")
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if !strings.HasSuffix(n, ".kept") {
			continue
		}
		b, err := readSmall(s.path("scratch", n), 128)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if Digest(b) == d {
			return true, nil
		}
	}
	return false, nil
}
