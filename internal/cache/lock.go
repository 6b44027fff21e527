package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Locks are BSD flocks: they belong to the open file, so the kernel drops them when the last process
// that has it is gone, however it went, and a keeper that inherited the descriptor goes on holding
// them. For the same reason they are given back by close alone: LOCK_UN would take the keeper's, too.
// os opens every file with O_CLOEXEC.

// flockFile takes a lock without waiting, except for another VERSION writer's few milliseconds.
func (s *Store) flockFile(f *os.File, how int) error {
	for {
		err := s.flock(int(f.Fd()), how)
		switch {
		case err == unix.EINTR:
			continue
		case err == nil, err == unix.EWOULDBLOCK:
			return err
		case err == unix.ENOLCK, err == unix.EOPNOTSUPP, err == unix.ENOSYS, err == unix.EINVAL, err == unix.EBADF:
			return &NoFlockError{Dir: s.dir, Err: err}
		}
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
}

// checkFlock tries to lock path, whose lock the caller holds, a second time: it must not work.
func (s *Store) checkFlock(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	switch err := s.flockFile(f, unix.LOCK_SH|unix.LOCK_NB); err {
	case unix.EWOULDBLOCK:
		return nil
	case nil:
		return &NoFlockError{Dir: s.dir}
	default:
		return err
	}
}

// waitLock waits for f's lock and for ctx. It polls: a thread blocked in flock(2) cannot be called back
// when ctx ends, would get the lock later and keep it from others. The price is up to 50 ms when a
// build of seconds hands over. waiting, if not nil, is called once if the lock is not free soon.
func (s *Store) waitLock(ctx context.Context, f *os.File, how int, waiting func()) error {
	pause := 200 * time.Microsecond
	for {
		err := s.flockFile(f, how|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK {
			return err
		}
		if waiting != nil && pause > patience {
			waiting()
			waiting = nil
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		pause = min(pause*3/2, 50*time.Millisecond)
	}
}

// patience is the pause between two tries from which on the waiting is worth a word: some 10 ms after the first. Until
// then the holder has said who it is.
const patience = 5 * time.Millisecond

// openLock opens a lock file, made if need be. In a read-only cache it is opened for reading, where
// flock works as well, and nil stands for one that is missing: nobody can take it away, so it counts as
// held.
func (s *Store) openLock(name string) (*os.File, error) {
	if s.readOnly {
		f, err := os.Open(s.path("locks", name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return f, err
	}
	f, err := os.OpenFile(s.path("locks", name), os.O_RDWR|os.O_CREATE, 0o600)
	return f, s.fault(err)
}

// lock takes one of the locks that are never unlinked.
func (s *Store) lock(ctx context.Context, name string, how int, waiting func()) (*os.File, error) {
	f, err := s.openLock(name)
	if f == nil || err != nil {
		return nil, err
	}
	if err := s.waitLock(ctx, f, how, waiting); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockRoot takes the lock of one root. Its file is removed with the root, under LOCK_EX: so a lock
// counts only if the path still leads to the locked file.
func (s *Store) lockRoot(ctx context.Context, d Digest, how int) (*os.File, error) {
	name := "root-" + string(d)
	for {
		f, err := s.openLock(name)
		if f == nil || err != nil {
			return nil, err
		}
		if how&unix.LOCK_NB != 0 {
			err = s.flockFile(f, how)
			if err == unix.EWOULDBLOCK {
				err = ErrBusy
			}
		} else {
			err = s.waitLock(ctx, f, how, nil)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
		if isAt(f, s.path("locks", name)) {
			return f, nil
		}
		f.Close()
	}
}

// isAt reports whether path leads to the open file f.
func isAt(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

func closeLock(f *os.File) {
	if f != nil {
		f.Close()
	}
}

// A StoreLock keeps a collection of garbage from taking downloads and blobs that no record names yet.
type StoreLock struct{ f *os.File }

// LockStore is held by a writer from its first download or blob to its action record. It is taken
// before any other lock; any number hold it at once.
func (s *Store) LockStore(ctx context.Context) (*StoreLock, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	f, err := s.lock(ctx, "store", unix.LOCK_SH, nil)
	if err != nil {
		return nil, fmt.Errorf("wait for the cache: %w", err)
	}
	return &StoreLock{f}, nil
}

// Close gives the lock back.
func (l *StoreLock) Close() { closeLock(l.f) }
