// Package cache keeps downloads, action records and sealed roots in one folder that many processes use
// at once and that a kill -9 at any line leaves whole.
//
// The folder:
//
//	VERSION                  schema; a newer one is refused
//	oci/                     image layout view of the roots
//	dl/sha256/<hex>          downloads
//	actions/<key>            one record per action: authoritative
//	inputs/<key>.json        what a key is the digest of
//	refs/<name>              one record per name
//	releases/<id>            last verified Release per source
//	roots/<diffid>           sealed trees, never written in place
//	roots/<diffid>.mtree     their manifests, authoritative for metadata
//	roots/<diffid>.mtree-<boot>  of a root that the disk need not have yet, see boot.go
//	use/<diffid>             its time is that of the last use, give or take an hour
//	locks/                   store, index, gc, key-00..ff, blob-00..ff: never unlinked; root-<diffid>
//	tmp/                     work in progress: alive exactly while its flock is held
//	trash/                   renamed here to vanish at once, then deleted
//
// Locks are taken in the order store, key, blob, root, index, and no goroutine holds two of one kind.
// Content appears by rename of a finished, fsynced temporary file. The folder is 0700, for a root holds
// setuid programs that no other user may reach.
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Schema is the layout's number, in VERSION. It changes when an older rootctl would misread the folder.
const Schema = 1

// Options are a Store's surroundings; the zero value is good.
type Options struct {
	Log *slog.Logger     // nil: silent
	Now func() time.Time // nil: time.Now; decides last-use stamps only

	Existing bool // make nothing: a folder that is missing or empty opens as an empty cache that can only be read
}

// A Store is an open cache folder. Its methods may be called from any number of goroutines and
// processes.
type Store struct {
	dir      string
	log      *slog.Logger
	now      func() time.Time
	readOnly bool
	existing bool // Options.Existing
	absent   bool
	flock    func(fd, how int) error

	boot        func() string // bootID
	settleAfter time.Duration
}

var folders = [...]string{"oci/blobs/sha256", "dl/sha256", "actions", "inputs", "refs", "releases",
	"roots", "use", "locks", "tmp", "trash"}

// Open opens the cache in dir and makes it if dir is missing or empty. Errors: *VersionError (made by a
// newer rootctl), *OwnerError (another user's folder), *ForeignError (a folder with other things in
// it), *NoFlockError. A folder on a read-only filesystem opens, too: hits work, writes give ErrReadOnly.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{log: o.Log, now: o.Now, existing: o.Existing, flock: unix.Flock, boot: sync.OnceValue(bootID), settleAfter: settleAfter}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	abs, err := filepath.Abs(dir)
	if err == nil {
		s.dir = abs
		err = s.open()
	}
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	return s, nil
}

// Dir returns the folder's absolute path.
func (s *Store) Dir() string { return s.dir }

// ReadOnly reports whether the folder can only be read.
func (s *Store) ReadOnly() bool { return s.readOnly }

// Absent reports whether there is no cache in the folder, which was not to be made.
func (s *Store) Absent() bool { return s.absent }

func (s *Store) path(elem ...string) string {
	return s.dir + "/" + strings.Join(elem, "/")
}

func (s *Store) open() error {
	if s.existing {
		if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
			s.absent, s.readOnly = true, true
			return nil
		}
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return s.fault(err)
	}
	st, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	if uid := st.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Geteuid() {
		return &OwnerError{Dir: s.dir, Owner: int(uid), User: os.Geteuid()}
	}
	err = unix.Access(s.dir, unix.W_OK)
	// A mode without the owner's right to write stands for read-only also with those whom no mode stops: root, and
	// a user within a namespace of their own.
	s.readOnly = err == unix.EROFS || err == unix.EACCES || st.Mode().Perm()&0o200 == 0
	if !s.readOnly {
		if err := s.checkOwners(int(st.Sys().(*syscall.Stat_t).Uid)); err != nil {
			return err
		}
	}
	version, err := readFile(s.path("VERSION"), 1<<10)
	switch {
	case err == nil && len(version) > 0:
		return s.settle(string(version), st.Mode().Perm())
	case err == nil, errors.Is(err, fs.ErrNotExist):
		if err := s.checkEmpty(err == nil); err != nil {
			return err
		}
		// An empty VERSION claims the folder: whoever was to write the number was killed, or a disk cut it.
		if s.existing && (err != nil || s.readOnly) {
			s.absent, s.readOnly = true, true
			return nil
		}
		return s.create()
	}
	return err
}

// checkOwners refuses a folder of which only the outermost was given to this user: what is in it would be read, half of
// it, and end in errors that say nothing.
func (s *Store) checkOwners(user int) error {
	for _, name := range [...]string{"VERSION", "actions", "locks", "roots", "tmp"} {
		st, err := os.Lstat(s.path(name))
		if err != nil {
			continue // made soon, or its reading says why
		}
		if uid := int(st.Sys().(*syscall.Stat_t).Uid); uid != user {
			return &OwnerError{Dir: s.path(name), Owner: uid, User: user}
		}
	}
	return nil
}

// settle checks VERSION and mends what a copied or restored folder may lack.
func (s *Store) settle(version string, mode fs.FileMode) error {
	n, err := strconv.Atoi(strings.TrimSuffix(version, "\n"))
	if (err != nil || n < 1) && bitFlipped(version) {
		s.log.Warn("VERSION is damaged", "found", version)
		if s.readOnly {
			return nil
		}
		return s.create()
	}
	if err != nil || n < 1 {
		return &ForeignError{Dir: s.dir, Found: "VERSION with other text"}
	}
	if n > Schema {
		return &VersionError{Dir: s.dir, Found: n}
	}
	if err := s.checkFolders(); err != nil {
		return err
	}
	if s.readOnly {
		return nil
	}
	if mode != 0o700 {
		if err := os.Chmod(s.dir, 0o700); err != nil {
			return err
		}
	}
	return s.mkdirs()
}

// bitFlipped reports whether text is VERSION's but for one bit. One that reads as a newer schema's number is not told
// from it, and refused.
func bitFlipped(text string) bool {
	want := fmt.Sprintf("%d\n", Schema)
	if len(text) != len(want) {
		return false
	}
	n := 0
	for i := range len(text) {
		n += bits.OnesCount8(text[i] ^ want[i])
	}
	return n == 1
}

// checkFolders refuses links and files in the place of our folders, of which the sweep empties some: a cache that was
// restored from elsewhere leads nobody out of itself.
func (s *Store) checkFolders() error {
	check := func(name string) error {
		st, err := os.Lstat(s.path(name))
		if err == nil && !st.IsDir() {
			return &BentError{s.path(name)}
		}
		return nil
	}
	for _, name := range folders {
		if err := check(name); err != nil {
			return err
		}
	}
	for _, name := range [...]string{"oci", "oci/blobs", "dl", "layers", "scratch", "logs"} {
		if err := check(name); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) mkdirs() error {
	for _, name := range folders {
		if _, err := os.Lstat(s.path(name)); err == nil { // cheaper than to make it in vain
			continue
		}
		err := os.Mkdir(s.path(name), 0o700)
		if errors.Is(err, fs.ErrNotExist) {
			err = os.MkdirAll(s.path(name), 0o700)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return s.fault(err)
		}
	}
	return nil
}

// checkEmpty keeps --cache=$HOME from turning a home into a cache. begun means that an empty VERSION is
// there: another process is making the cache this moment, or was killed while it did.
func (s *Store) checkEmpty(begun bool) error {
	if begun {
		return nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "VERSION" { // made since: what else is there is the cache's
			return nil
		}
	}
	for _, e := range entries {
		if name := e.Name(); name != "lost+found" {
			return &ForeignError{Dir: s.dir, Found: strconv.Quote(name)}
		}
	}
	return nil
}

// create makes an empty VERSION, which claims the folder, then the folders, and writes the number last,
// all under VERSION's own lock: so one that has a number has everything, and one killed half-way is
// finished by the next.
func (s *Store) create() error {
	if s.readOnly {
		return fmt.Errorf("make one in %s: %w", s.dir, ErrReadOnly)
	}
	if err := s.checkFolders(); err != nil {
		return err
	}
	f, err := os.OpenFile(s.path("VERSION"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return s.fault(err)
	}
	defer f.Close()
	if err := s.flockFile(f, unix.LOCK_EX); err != nil {
		return err
	}
	if err := s.checkFlock(s.path("VERSION")); err != nil {
		return err
	}
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	if err := s.mkdirs(); err != nil {
		return err
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%d\n", Schema), 0); err != nil {
		return s.fault(err)
	}
	if err := f.Sync(); err != nil {
		return s.fault(err)
	}
	return syncDir(s.dir)
}

// Free returns the bytes that the cache's filesystem has free for this user.
func (s *Store) Free() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return 0, fmt.Errorf("look for free space in %s: %w", s.dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Room returns a *FullError if the filesystem has less than need bytes free.
func (s *Store) Room(need int64) error {
	free, err := s.Free()
	if err != nil {
		return err
	}
	if free < need {
		return &FullError{Dir: s.dir, Need: need, Free: free, Err: unix.ENOSPC}
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
