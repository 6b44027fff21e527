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

// The ids of a shifted tree: one block for all, so that one copy of a root does for all runs on machines that cannot map
// the ids of files. It is the last of those that containers claim.
const (
	ShiftBase uint32 = 0x7fff0000
	ShiftSize uint32 = 0x10000
)

// KindShifted is the kind of roots/<digest>.u<base>.
const KindShifted = "shifted tree"

func (s *Store) shiftedPath(d Digest) string { return s.path("roots", string(d)+shiftSuffix()) }

func shiftSuffix() string { return ".u" + strconv.FormatUint(uint64(ShiftBase), 10) }

// shiftedOf is the root of a name in roots/ that a shifted tree has.
func shiftedOf(name string) (Digest, bool) {
	n, ok := strings.CutSuffix(name, shiftSuffix())
	return Digest(n), ok && Digest(n).Valid()
}

// Shifted gives the leased root's second tree, whose ids are those of the block from ShiftBase on, and makes it if it is
// not there: fill copies the root to an empty folder, and guard, unless nil, has somebody look after the temporary
// folder meanwhile. The lease is the right to use it. In a read-only cache without one the error is ErrReadOnly.
func (l *Lease) Shifted(fill func(from, to string) error, guard func(*Temp) (func(), error)) (tree string, err error) {
	path := l.s.shiftedPath(l.Root)
	if st, err := os.Lstat(path); err == nil && st.IsDir() {
		return path, nil
	}
	if l.s.readOnly {
		return "", ErrReadOnly
	}
	if err := l.makeShifted(path, fill, guard); err != nil {
		return "", fmt.Errorf("make shifted tree of root %s: %w", l.Root.Short(), l.s.fault(err))
	}
	return path, nil
}

func (l *Lease) makeShifted(path string, fill func(from, to string) error, guard func(*Temp) (func(), error)) error {
	t, err := l.s.Temp()
	if err != nil {
		return err
	}
	defer t.Remove()
	if guard != nil {
		release, err := guard(t)
		if err != nil {
			return err
		}
		defer release()
	}
	tree := filepath.Join(t.Path, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	if err := fill(l.Tree, tree); err != nil {
		return err
	}
	if err := Flush(tree); err != nil {
		return err
	}
	err = os.Rename(tree, path)
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, fs.ErrExist) {
		return nil // theirs is as good
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// shifted compares a root's second tree with the manifest, under the root's lock.
func (v *verification) shifted(d Digest) (int64, []string, error) {
	lock, err := v.s.lockRoot(v.ctx, d, unix.LOCK_SH|unix.LOCK_NB)
	if err != nil {
		return 0, nil, err
	}
	defer closeLock(lock)
	l := &Lease{Root: d, Tree: v.s.rootPath(d), s: v.s, lock: lock}
	m, err := l.Manifest()
	if err != nil {
		return 0, nil, err
	}
	problems, err := m.VerifyShifted(v.ctx, v.s.shiftedPath(d), ShiftBase, ShiftSize)
	return m.TarSize, problems, err
}

// dropShifted takes a second tree away, which the next run makes anew. The root stays.
func (v *verification) dropShifted(name string) error {
	d, _ := shiftedOf(name)
	lock, err := v.s.lockRoot(v.ctx, d, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return err
	}
	defer lock.Close()
	if kept, err := v.s.isUnderCopy(d); kept || err != nil {
		return errors.Join(err, ErrBusy)
	}
	return v.s.discard(v.s.shiftedPath(d))
}

// removeTrash deletes what unlinkRoot renamed: a root's tree and its second one.
func removeTrash(trash string) error {
	return errors.Join(removeTree(trash), removeTree(trash+shiftSuffix()))
}
