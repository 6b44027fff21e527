package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Every error a user can cause has a Hint method: the next step, without a full stop.

// ErrNotFound is what a look-up by name or digest gives for what is not in the cache, or was and turned
// out damaged. It is fs.ErrNotExist to errors.Is.
var ErrNotFound = fmt.Errorf("not in the cache: %w", fs.ErrNotExist)

// ErrReadOnly is what writing to a read-only cache gives.
var ErrReadOnly error = readOnlyError{}

type readOnlyError struct{}

func (readOnlyError) Error() string { return "the cache is read-only" }
func (readOnlyError) Hint() string {
	return "give a folder that can be written with --cache or ROOTCTL_CACHE"
}

// ErrBusy says that something is in use by another process, or elsewhere in this one.
var ErrBusy = errors.New("in use")

// A VersionError is a cache that a newer rootctl has made.
type VersionError struct {
	Dir   string
	Found int
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s has schema %d, and this rootctl knows %d", e.Dir, e.Found, Schema)
}
func (e *VersionError) Hint() string {
	return "use the newer rootctl, or another folder with --cache or ROOTCTL_CACHE"
}

// An OwnerError is a cache folder that belongs to someone else.
type OwnerError struct {
	Dir         string
	Owner, User int
}

func (e *OwnerError) Error() string {
	return fmt.Sprintf("%s belongs to user %d, and rootctl runs as user %d", e.Dir, e.Owner, e.User)
}
func (e *OwnerError) Hint() string {
	return "every user has a cache of their own: unset ROOTCTL_CACHE or name a folder of yours"
}

// A ForeignError is a folder that holds other things than a cache.
type ForeignError struct{ Dir, Found string }

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s is no rootctl cache: it has %s", e.Dir, e.Found)
}
func (e *ForeignError) Hint() string { return "name an empty or missing folder" }

// A BentError is a cache that has something else where one of its folders should be: one that was restored or meddled
// with. Nothing is read or removed through it.
type BentError struct{ Path string }

func (e *BentError) Error() string { return e.Path + " is no folder, as it has to be in a cache" }
func (e *BentError) Hint() string {
	return "look where it came from; remove it, or name another cache with --cache or ROOTCTL_CACHE"
}

// A NoFlockError is a filesystem whose locks do not work.
type NoFlockError struct {
	Dir string
	Err error // nil if flock lies: it gives one lock to two
}

func (e *NoFlockError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("the filesystem of %s gives one flock to two holders", e.Dir)
	}
	return fmt.Sprintf("the filesystem of %s has no flock: %v", e.Dir, e.Err)
}
func (e *NoFlockError) Unwrap() error { return e.Err }
func (e *NoFlockError) Hint() string {
	return "put the cache on a local disk with --cache or ROOTCTL_CACHE"
}

// A FullError is a disk or quota without room.
type FullError struct {
	Dir        string
	Need, Free int64 // bytes; 0 if not known
	Err        error // ENOSPC or EDQUOT
}

func (e *FullError) Error() string {
	if e.Need > 0 {
		return fmt.Sprintf("the disk of %s is full: %d MB free of %d MB needed", e.Dir, e.Free>>20, (e.Need+1<<20-1)>>20)
	}
	return fmt.Sprintf("the disk of %s is full: %v", e.Dir, e.Err)
}
func (e *FullError) Unwrap() error { return e.Err }
func (e *FullError) Hint() string {
	return "free some space, or name a folder on another disk with --cache or ROOTCTL_CACHE"
}

// An AccessError is something in the cache that its own owner may not write to.
type AccessError struct {
	Dir string
	Err error
}

func (e *AccessError) Error() string { return e.Err.Error() }
func (e *AccessError) Unwrap() error { return e.Err }
func (e *AccessError) Hint() string {
	if _, err := os.Lstat(e.Dir); err != nil {
		return fmt.Sprintf("you cannot make %s: name a folder of your own with --cache or ROOTCTL_CACHE", e.Dir)
	}
	return fmt.Sprintf("something in the cache is not yours to write: see ls -la %s, or name another folder with --cache or ROOTCTL_CACHE", e.Dir)
}

// A MismatchError is content that is not what its digest or size says.
type MismatchError struct {
	Want             Digest
	Got              Digest // "" if only the size is wrong
	WantSize, Length int64
}

func (e *MismatchError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("size is %d, not %d (sha256 %s)", e.Length, e.WantSize, e.Want.Short())
	}
	got, want := e.Got.Short(), e.Want.Short()
	if got == want { // by chance never, by hand soon
		got, want = string(e.Got), string(e.Want)
	}
	return fmt.Sprintf("sha256 is %s, not %s", got, want)
}

// A RefError says why a ref was not changed: it is not what the caller had seen.
type RefError struct {
	Name     string
	Old, Now Digest // "" for none
}

func (e *RefError) Error() string {
	return fmt.Sprintf("%s was changed meanwhile: it is %s, not %s", e.Name, orNone(e.Now), orNone(e.Old))
}

func orNone(d Digest) string {
	if d == "" {
		return "absent"
	}
	return d.Short()
}

// fault gives the errors of writing their clear form.
func (s *Store) fault(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		var full *FullError
		if errors.As(err, &full) {
			return err
		}
		return &FullError{Dir: s.dir, Err: err}
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w (%w)", ErrReadOnly, err)
	case errors.Is(err, fs.ErrPermission):
		return &AccessError{Dir: s.dir, Err: err}
	}
	return err
}

func badDigest(d Digest) error { return fmt.Errorf("%q is not a sha256", string(d)) }
