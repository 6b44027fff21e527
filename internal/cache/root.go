package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// A Lease is the right to use a sealed root: while it, or a process that inherited LockFile, is alive,
// nobody removes the root.
type Lease struct {
	Root Digest
	Tree string // the unpacked root; never write there
	s    *Store
	lock *os.File
}

// LockFile keeps the root leased in a process that is given it. Nil in a read-only cache that came
// without lock files: nothing can be removed there.
func (l *Lease) LockFile() *os.File { return l.lock }

// Close ends the lease of this process.
func (l *Lease) Close() { closeLock(l.lock) }

// Manifest reads the root's manifest. One that is damaged is removed, which makes the root a miss for
// the next Lease: the build is done again and Seal writes it anew.
func (l *Lease) Manifest() (*Manifest, error) {
	f, err := l.s.openManifest(l.Root)
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", l.Root.Short(), err)
	}
	defer f.Close()
	path := f.Name()
	m, err := snapshot.ReadManifest(f)
	if err == nil && m.Digest != l.Root {
		err = &snapshot.DamagedError{Reason: "it belongs to another root"}
	}
	var bad *snapshot.DamagedError
	if errors.As(err, &bad) && !l.s.readOnly && isAt(f, path) {
		l.s.log.Warn("damaged manifest, root counts as absent", "root", l.Root)
		if err := l.s.discard(path); err != nil {
			l.s.log.Warn("remove damaged manifest", "err", err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", l.Root.Short(), err)
	}
	return m, nil
}

func (s *Store) rootPath(d Digest) string  { return s.path("roots", string(d)) }
func (s *Store) mtreePath(d Digest) string { return s.path("roots", string(d)+".mtree") }

// HasRoot reports whether root d is there. One that damage was found in is not.
func (s *Store) HasRoot(d Digest) bool { return d.Valid() && s.hasRoot(d) }

// hasRoot reports whether root d is whole. The manifest comes first and goes last.
func (s *Store) hasRoot(d Digest) bool {
	tree, err := os.Lstat(s.rootPath(d))
	if err != nil || !tree.IsDir() {
		return false
	}
	has, _ := s.hasManifest(d)
	return has
}

// Lease takes the root d into use, or gives ErrNotFound.
func (s *Store) Lease(ctx context.Context, root Digest) (*Lease, error) {
	if !root.Valid() {
		return nil, badDigest(root)
	}
	absent := fmt.Errorf("root %s: %w", root.Short(), ErrNotFound)
	if !s.hasRoot(root) { // before a lock file is made for nothing
		return nil, absent
	}
	lock, err := s.lockRoot(ctx, root, unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("lease root %s: %w", root.Short(), err)
	}
	if !s.hasRoot(root) || !s.sure(root) {
		closeLock(lock)
		return nil, absent
	}
	s.touch(root)
	return &Lease{Root: root, Tree: s.rootPath(root), s: s, lock: lock}, nil
}

// touch stamps the use of a root, at most once an hour. Nothing but the order of eviction hangs on it,
// so failing (a read-only or full disk) does no harm.
func (s *Store) touch(d Digest) {
	path, now := s.path("use", string(d)), s.now()
	st, err := os.Stat(path)
	if err == nil {
		if age := now.Sub(st.ModTime()); age >= 0 && age < time.Hour {
			return
		}
	} else if !s.readOnly {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			return
		}
		f.Close()
	}
	if !s.readOnly {
		os.Chtimes(path, now, now)
	}
}

// Seal makes tree, a folder in t, the root d with the manifest m, and returns it leased. m and d come
// from Scan, and nothing has written to tree since. Device nodes and sockets are taken off the tree and
// its times set to m's. If the root is there already that one is leased and tree left in t. The caller
// writes its action record afterwards.
func (s *Store) Seal(ctx context.Context, t *Temp, tree string, m *Manifest, d Digest) (*Lease, error) {
	return s.sealed(ctx, t, tree, m, d, sealing{settle: m.Settle})
}

// SealSettled is Seal for a tree that was made of m, and is as Settle leaves one: it has no device nodes and no sockets,
// no name that m does not have, and m's times. It is not walked again.
func (s *Store) SealSettled(ctx context.Context, t *Temp, tree string, m *Manifest, d Digest) (*Lease, error) {
	return s.sealed(ctx, t, tree, m, d, sealing{})
}

func (s *Store) sealed(ctx context.Context, t *Temp, tree string, m *Manifest, d Digest, how sealing) (*Lease, error) {
	l, err := s.seal(ctx, t, tree, m, d, how)
	if err != nil {
		return nil, fmt.Errorf("seal root %s: %w", d.Short(), s.fault(err))
	}
	return l, nil
}

func (s *Store) seal(ctx context.Context, t *Temp, tree string, m *Manifest, d Digest, how sealing) (*Lease, error) {
	rel, err := filepath.Rel(t.Path, tree)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return nil, fmt.Errorf("%s is not in the temporary folder", tree)
	}
	if !d.Valid() || m.Digest != d {
		return nil, fmt.Errorf("manifest is of root %s", m.Digest.Short())
	}
	l, err := s.Lease(ctx, d)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if err == nil {
		_, err := l.Manifest()
		if err == nil && !how.forBoot {
			err = s.makeLast(d)
		}
		if err == nil {
			return l, nil
		}
		l.Close()
		if s.hasRoot(d) { // else it was damaged, and is gone
			return nil, err
		}
	}
	if how.settle != nil {
		if err := how.settle(tree); err != nil {
			return nil, err
		}
	}
	if !how.forBoot {
		if err := Flush(tree); err != nil {
			return nil, err
		}
	}
	// What is left of a broken one makes room, if nobody uses it.
	if trash, err := s.unlinkRoot(d, true); err == nil && trash != "" {
		if err := removeTrash(trash); err != nil {
			return nil, err
		}
	}
	// Leased before it is there: a collector that sees it finds it in use.
	lock, err := s.lockRoot(ctx, d, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	if err = s.place(d, tree, m, how); err != nil {
		lock.Close()
		return nil, err
	}
	s.touch(d)
	return &Lease{Root: d, Tree: s.rootPath(d), s: s, lock: lock}, nil
}

// Flush writes out the whole filesystem that tree is on: one call, where an fsync of each of 6,000 files takes
// seconds. Seal does so; a builder that has nothing to write for a while may have done it before.
func Flush(tree string) error {
	f, err := os.Open(tree)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("syncfs: %w", err)
	}
	return nil
}

// A Root is what Roots tells of a sealed root.
type Root struct {
	Digest  Digest
	Size    int64 // of its canonical tar, in bytes
	Entries int
	Used    time.Time // last use, give or take an hour; zero if not known
}

// Roots lists the sealed roots by digest. It reads a line of each manifest.
func (s *Store) Roots() ([]Root, error) {
	names, err := s.listDir("roots")
	if err != nil {
		return nil, fmt.Errorf("list roots: %w", err)
	}
	var roots []Root
	for _, name := range names {
		d := Digest(name)
		if !d.Valid() {
			continue
		}
		f, err := s.openManifest(d)
		if err != nil {
			continue // not whole: being made or removed
		}
		m, entries, err := snapshot.ReadHead(f)
		f.Close()
		if err != nil {
			continue
		}
		r := Root{Digest: d, Size: m.TarSize, Entries: entries}
		if st, err := os.Stat(s.path("use", name)); err == nil {
			r.Used = st.ModTime()
		}
		roots = append(roots, r)
	}
	return roots, nil
}

// FindRoot returns the one sealed root whose digest begins with prefix, of at least 4 digits.
func (s *Store) FindRoot(prefix string) (Digest, error) {
	prefix = strings.TrimPrefix(prefix, "sha256:")
	if d := Digest(prefix); d.Valid() && s.hasRoot(d) {
		return d, nil
	}
	names, err := s.dirNames("roots")
	if err != nil {
		return "", fmt.Errorf("list roots: %w", err)
	}
	var found Digest
	for _, name := range names {
		d := Digest(name)
		if len(prefix) < 4 || !strings.HasPrefix(name, prefix) || !d.Valid() || !s.hasRoot(d) {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%q begins the digest of more than one root: %w", prefix, fs.ErrExist)
		}
		found = d
	}
	if found == "" {
		return "", fmt.Errorf("root %q: %w", prefix, ErrNotFound)
	}
	return found, nil
}

// Remove takes the root d out of the cache, or gives ErrBusy if it is leased. Names that point to it are
// the caller's business.
func (s *Store) Remove(d Digest) error {
	if !d.Valid() {
		return badDigest(d)
	}
	if s.readOnly {
		return ErrReadOnly
	}
	trash, err := s.unlinkRoot(d, false)
	if err == nil && trash != "" {
		err = removeTrash(trash)
	}
	if err != nil {
		return fmt.Errorf("remove root %s: %w", d.Short(), err)
	}
	return nil
}

// unlinkRoot makes all that belongs to root d vanish and returns where its tree is now, "" if there was
// none. The tree goes first: a manifest alone is no root.
func (s *Store) unlinkRoot(d Digest, brokenOnly bool) (string, error) {
	lock, err := s.lockRoot(context.Background(), d, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if kept, err := s.isUnderCopy(d); kept || err != nil {
		return "", errors.Join(err, ErrBusy)
	}
	if brokenOnly && s.hasRoot(d) {
		return "", ErrBusy // published meanwhile
	}
	trash, found := s.path("trash", randomName()), false
	for _, x := range [][2]string{{s.rootPath(d), trash}, {s.shiftedPath(d), trash + shiftSuffix()}} {
		if err == nil {
			err = os.Rename(x[0], x[1])
			found = found || err == nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if !found {
		trash = ""
	}
	for _, path := range []string{cmp.Or(s.bootPath(d), s.mtreePath(d)), s.mtreePath(d), s.path("use", string(d)), s.path("locks", "root-"+string(d))} {
		if err == nil {
			err = os.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	return trash, s.fault(err)
}
