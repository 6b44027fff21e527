package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// Layer returns a folder that holds files, by path from its root and with mode 0644, and nothing else: a read-only
// layer for many containers, made once. It is owned by this process's user.
func (s *Store) Layer(files map[string][]byte) (string, error) {
	names := slices.Sorted(maps.Keys(files))
	h := sha256.New()
	for _, n := range names {
		if !filepath.IsLocal(n) {
			return "", fmt.Errorf("make layer: bad path %q", n)
		}
		fmt.Fprintf(h, "%q %d\n%s", n, len(files[n]), files[n])
	}
	dir := s.path("layers", hex.EncodeToString(h.Sum(nil)))
	if _, err := os.Lstat(dir); err == nil {
		return dir, nil
	}
	if s.readOnly {
		return "", ErrReadOnly
	}
	if err := s.makeLayer(dir, names, files); err != nil {
		return "", fmt.Errorf("make layer: %w", s.fault(err))
	}
	return dir, nil
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
	for _, d := range slices.Compact(made) {
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
