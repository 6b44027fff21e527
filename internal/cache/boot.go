package cache

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// A root that somebody waits for is sealed for this boot: nobody waits for the disk to have it, and its manifest's name ends
// in the kernel's name of the boot, .mtree-<id>. What all processes see until the machine goes down is whole. After a crash
// the disk may have any part of it, and the next boot has another name: the root counts as absent. Once it is a minute old,
// when the kernel has written most of it anyway, whoever leases it waits for the rest, and gives the manifest its lasting
// name: a name .mtree always means that the disk has the root.

// settleAfter is the age at which a root of this boot is made to last, unless the Store has another.
const settleAfter = time.Minute

// bootID is the kernel's name of this boot, "" if it cannot be told.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	id := strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")
	if err != nil || len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return ""
	}
	return id
}

// bootPath is where the manifest of a root of this boot is, "" if there are none.
func (s *Store) bootPath(d Digest) string {
	if id := s.boot(); id != "" {
		return s.mtreePath(d) + "-" + id
	}
	return ""
}

// rootNamed is the root that a name in roots/, use/ or locks/ belongs to.
func rootNamed(name string) Digest {
	name = strings.TrimPrefix(name, "root-")
	if d, rest, ok := strings.Cut(name, "."); ok && (rest == "mtree" || strings.HasPrefix(rest, "mtree-") || "."+rest == shiftSuffix()) {
		name = d
	}
	return Digest(name)
}

// hasManifest also reports whether it is one of this boot. A manifest may get its lasting name meanwhile.
func (s *Store) hasManifest(d Digest) (has, forBoot bool) {
	if _, err := os.Lstat(s.mtreePath(d)); err == nil {
		return true, false
	}
	if path := s.bootPath(d); path != "" {
		if _, err := os.Lstat(path); err == nil {
			return true, true
		}
	}
	_, err := os.Lstat(s.mtreePath(d))
	return err == nil, false
}

// openManifest opens the manifest of a root, whose name is the file's.
func (s *Store) openManifest(d Digest) (*os.File, error) {
	f, err := openFile(s.mtreePath(d))
	if path := s.bootPath(d); errors.Is(err, fs.ErrNotExist) && path != "" {
		if f, err = openFile(path); errors.Is(err, fs.ErrNotExist) {
			f, err = openFile(s.mtreePath(d))
		}
	}
	return f, err
}

// staleManifest holds for a manifest of another boot, or of a root that has a lasting one.
func (s *Store) staleManifest(name string) bool {
	d, id, ok := strings.Cut(name, ".mtree-")
	if !ok {
		return false
	}
	_, err := os.Lstat(s.mtreePath(Digest(d)))
	return err == nil || id != s.boot()
}

// SealForBoot is SealSettled for a root that somebody waits for, see above. It lasts from the first Lease a minute later.
func (s *Store) SealForBoot(ctx context.Context, t *Temp, tree string, m *Manifest, d Digest) (*Lease, error) {
	return s.sealed(ctx, t, tree, m, d, sealing{forBoot: s.boot() != ""})
}

// placeForBoot puts the manifest and the tree where they belong.
func (s *Store) placeForBoot(d Digest, tree string, manifest []byte) error {
	f, err := s.createLocked(s.path("tmp", randomName()+".new"), 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(manifest); err == nil {
		err = os.Rename(f.Name(), s.bootPath(d))
	}
	if err != nil {
		os.Remove(f.Name())
		return s.fault(err)
	}
	return moveTree(tree, s.rootPath(d))
}

// sure looks after a root of this boot, which the caller has locked, and reports whether it counts. One whose disk went
// away and came back without a boot between, and has lost what was not written, does not.
func (s *Store) sure(d Digest) bool {
	has, forBoot := s.hasManifest(d)
	if !has || !forBoot {
		return has
	}
	path := s.bootPath(d)
	st, err := os.Lstat(path)
	if err != nil {
		has, _ = s.hasManifest(d)
		return has
	}
	err = s.compareSizes(d)
	age := s.now().Sub(st.ModTime())
	if err == nil && (s.readOnly || age >= 0 && age < s.settleAfter) {
		return true
	}
	if err == nil {
		err = s.makeLast(d)
	}
	if err != nil {
		s.log.Warn("a root that was not written out counts as absent", "root", d, "err", err)
		if !s.readOnly {
			os.Remove(path) // the rest is Sweep's
		}
	}
	return err == nil
}

// makeLast waits for the disk to have a root of this boot, which the caller has locked.
func (s *Store) makeLast(d Digest) error {
	if _, forBoot := s.hasManifest(d); !forBoot || s.readOnly {
		return nil
	}
	if err := Flush(s.path("roots")); err != nil {
		return err
	}
	err := os.Rename(s.bootPath(d), s.mtreePath(d))
	if has, forBoot := s.hasManifest(d); has && !forBoot { // another process may have been first
		return nil
	}
	return err
}

func (s *Store) compareSizes(d Digest) error {
	f, err := s.openManifest(d)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := snapshot.ReadManifest(f)
	if err != nil {
		return err
	}
	return m.CompareSizes(s.rootPath(d))
}

// moveTree publishes a tree, unless there is one.
func moveTree(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return nil // theirs
	}
	return err
}

// wholeRoots takes from the sorted names in roots/ those that have a tree and a manifest.
func (s *Store) wholeRoots(names []string) map[Digest]bool {
	there := make(map[Digest]bool, len(names)/2)
	for i, n := range names {
		if !Digest(n).Valid() {
			continue
		}
		for _, next := range names[i+1:] {
			of, isManifest := strings.CutPrefix(next, n+".mtree")
			if !isManifest {
				break
			}
			if of == "" || of == "-"+s.boot() {
				there[Digest(n)] = true
			}
		}
	}
	return there
}

// A sealing is a way to seal a root.
type sealing struct {
	settle  func(tree string) error // may be nil
	forBoot bool
}

// place publishes a tree with its manifest.
func (s *Store) place(d Digest, tree string, m *Manifest, how sealing) error {
	var text bytes.Buffer
	if err := m.Encode(&text); err != nil {
		return err
	}
	if how.forBoot {
		return s.placeForBoot(d, tree, text.Bytes())
	}
	if err := s.write(s.mtreePath(d), text.Bytes()); err != nil {
		return err
	}
	if err := moveTree(tree, s.rootPath(d)); err != nil {
		return err
	}
	return syncDir(s.path("roots"))
}
