package cache

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A Temp is a private folder in the cache, alive exactly while its lock file is flocked: by this
// process, or by any that inherited LockFile. No pids, no ages, no clocks.
type Temp struct {
	Path string // the folder; its name in the cache is random
	lock *os.File
}

// Temp makes a folder that Sweep removes once nobody holds its lock.
func (s *Store) Temp() (*Temp, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	path := s.path("tmp", randomName())
	lock, err := s.createLocked(path+".lock", 0o600)
	if err != nil {
		return nil, fmt.Errorf("make temporary folder: %w", err)
	}
	t := &Temp{Path: path, lock: lock}
	err = s.checkFlock(path + ".lock")
	if err == nil {
		err = s.fault(os.Mkdir(path, 0o700))
	}
	if err != nil {
		os.Remove(path + ".lock")
		lock.Close()
		return nil, fmt.Errorf("make temporary folder: %w", err)
	}
	return t, nil
}

// LockFile is what keeps t alive. A process that is given it (os/exec's ExtraFiles) keeps t, too.
func (t *Temp) LockFile() *os.File { return t.lock }

// Remove deletes the folder and ends the lock. A keeper that holds the lock as well loses the folder.
func (t *Temp) Remove() error {
	err := removeTree(t.Path)
	if err == nil {
		err = os.Remove(t.lock.Name())
	}
	t.lock.Close()
	if err != nil {
		return fmt.Errorf("remove temporary folder: %w", err)
	}
	return nil
}

// createLocked makes a new file and locks it. Between the two a Sweep may take it for dead and remove
// it, hence the look whether it is still there.
func (s *Store) createLocked(path string, mode fs.FileMode) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, mode)
		if err != nil {
			return nil, s.fault(err)
		}
		err = s.flockFile(f, unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isAt(f, path) {
			return f, nil
		}
		f.Close()
		if err != nil && err != unix.EWOULDBLOCK {
			os.Remove(path)
			return nil, err
		}
	}
}

// write makes content appear at path, whole or not at all, and durable. The temporary file is its own
// lock: Sweep removes one that nobody holds.
func (s *Store) write(path string, content ...[]byte) error {
	if s.readOnly {
		return ErrReadOnly
	}
	f, err := s.createLocked(s.path("tmp", randomName()+".new"), 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, b := range content {
		if err == nil {
			_, err = f.Write(b)
		}
	}
	return s.publish(f, path, err)
}

// publish moves the finished file f to path, or removes it if err says that making it went wrong.
func (s *Store) publish(f *os.File, path string, err error) error {
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return s.fault(err)
	}
	return s.fault(syncDir(filepath.Dir(path)))
}

// discard makes path vanish at once and then deletes it.
func (s *Store) discard(path string) error {
	to := s.path("trash", randomName())
	if err := os.Rename(path, to); err != nil {
		return s.fault(err)
	}
	return removeTree(to)
}

// removeTree deletes path and all below it, directories without permissions included.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}

// randomName returns 128 random bits in hex: no two ever share a name, so none is used twice.
func randomName() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
