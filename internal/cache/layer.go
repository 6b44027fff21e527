package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A Layer is a folder of the cache that many containers share and none writes to. While it, or a process that inherited
// LockFile, is alive, nobody removes the folder.
type Layer struct {
	Path string
	lock *os.File
}

// LockFile keeps the layer in a process that is given it. It is nil where nothing can be removed: in a read-only cache.
func (l *Layer) LockFile() *os.File { return l.lock }

// Close ends this process's use of the layer.
func (l *Layer) Close() { closeLock(l.lock) }

// Layer returns a folder that holds files, by path from its root and with mode 0644, and nothing else: a read-only
// layer for many containers, made once. It is owned by this process's user.
func (s *Store) Layer(files map[string][]byte) (*Layer, error) {
	names := slices.Sorted(maps.Keys(files))
	for _, n := range names {
		if !filepath.IsLocal(n) {
			return nil, fmt.Errorf("make layer: bad path %q", n)
		}
	}
	dir := s.path("layers", layerName(files))
	for {
		l, err := s.lockLayer(dir, unix.LOCK_SH)
		if err == nil && wholeLayer(dir, files) {
			return l, nil
		}
		if err == nil {
			l.Close()
			if err := s.dropLayer(dir); err != nil {
				return nil, fmt.Errorf("use damaged layer: %w", err)
			}
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("use layer: %w", err)
		}
		if s.readOnly {
			return nil, ErrReadOnly
		}
		if err := s.makeLayer(dir, names, files); err != nil {
			return nil, fmt.Errorf("make layer: %w", s.fault(err))
		}
	}
}

// wholeLayer reads what little a layer holds: it goes into every container.
func wholeLayer(dir string, files map[string][]byte) bool {
	for n, want := range files {
		if b, err := readFile(filepath.Join(dir, n), int64(len(want))); err != nil || !bytes.Equal(b, want) {
			return false
		}
	}
	return true
}

// dropLayer takes a damaged layer away, or gives ErrBusy or ErrReadOnly.
func (s *Store) dropLayer(dir string) error {
	if s.readOnly {
		return ErrReadOnly
	}
	l, err := s.lockLayer(dir, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer l.Close()
	s.log.Warn("layer is damaged, removed", "layer", dir)
	return s.discard(dir)
}

// layerName is the digest of a layer's paths and contents.
func layerName(files map[string][]byte) string {
	h := sha256.New()
	for _, n := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%q %d\n%s", n, len(files[n]), files[n])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// lockLayer locks the folder itself: a lock file of its own would cost every run one more look-up.
func (s *Store) lockLayer(dir string, how int) (*Layer, error) {
	for {
		f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		if how&unix.LOCK_NB != 0 {
			err = s.flockFile(f, how)
		} else {
			err = s.waitLock(context.Background(), f, how, nil)
		}
		if err != nil {
			f.Close()
			return nil, busy(err)
		}
		if isAt(f, dir) {
			return &Layer{dir, f}, nil
		}
		f.Close()
	}
}

func (s *Store) makeLayer(dir string, names []string, files map[string][]byte) error {
	t, err := s.Temp()
	if err != nil {
		return err
	}
	defer t.Remove()
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	tree := filepath.Join(t.Path, "layer")
	made := []string{tree}
	for _, n := range names {
		for d := filepath.Dir(n); d != "."; d = filepath.Dir(d) {
			made = append(made, filepath.Join(tree, d))
		}
	}
	slices.Sort(made)
	made = slices.Compact(made)
	for _, d := range made {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(d, 0o755); err != nil { // whatever the umask
			return err
		}
	}
	for _, n := range names {
		if err := writeSynced(filepath.Join(tree, n), files[n]); err != nil {
			return err
		}
	}
	// A copy that changes something below one of these gets its time: it must tell nobody when the layer was made.
	for _, d := range made {
		if err := os.Chtimes(d, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
			return err
		}
	}
	err = os.Rename(tree, dir)
	if errors.Is(err, fs.ErrExist) { // another process was quicker
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
}
