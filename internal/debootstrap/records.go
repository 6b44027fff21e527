package debootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// RefOfRoot finds the record of a root that no name stands for, with empty Info if there is none. That of a build counts
// for more than that of an import: the bytes are the same.
func RefOfRoot(s *cache.Store, d cache.Digest) (cache.Ref, error) {
	return RefsOfRoots(s, []cache.Digest{d})[d], nil
}

// RefsOfRoots is RefOfRoot for many, with the records read once.
func RefsOfRoots(s *cache.Store, roots []cache.Digest) map[cache.Digest]cache.Ref {
	found := make(map[cache.Digest]cache.Ref, len(roots))
	built := make(map[cache.Digest]bool)
	for _, d := range roots {
		found[d] = cache.Ref{Root: d, Info: canonical(Info{})}
	}
	if len(roots) == 0 {
		return found
	}
	for key, raw := range s.Actions() {
		var rec struct {
			Kind string          `json:"kind"`
			Root cache.Digest    `json:"root"`
			Info json.RawMessage `json:"info"`
		}
		if json.Unmarshal(raw, &rec) != nil || rec.Kind != kindRoot && rec.Kind != "import" {
			continue
		}
		if _, wanted := found[rec.Root]; wanted && !built[rec.Root] {
			found[rec.Root] = cache.Ref{Root: rec.Root, Key: key, Info: rec.Info}
			built[rec.Root] = rec.Kind == kindRoot
		}
	}
	return found
}

// importRecord stands in actions/ for an imported root.
type importRecord struct {
	Kind string       `json:"kind"` // "import"
	Root cache.Digest `json:"root"`
	Info Info         `json:"info"`
}

// RememberImport records a sealed root that came from outside and returns a nameless ref to it.
func RememberImport(s *cache.Store, root cache.Digest, info Info) (cache.Ref, error) {
	key := cache.Sum([]byte("import " + root))
	if err := s.StoreAction(key, importRecord{"import", root, info}); err != nil {
		return cache.Ref{}, fmt.Errorf("record the import: %w", err)
	}
	return cache.Ref{Root: root, Key: key, Info: canonical(info)}, nil
}

// LockOfRoot is the Lock a root was built from.
func LockOfRoot(s *cache.Store, ref cache.Ref) (*Lock, error) {
	var rec rootRecord
	ok, err := s.LoadAction(ref.Key, &rec)
	if err != nil {
		return nil, err
	}
	if !ok || rec.Kind != "root" || rec.Lock == nil {
		return nil, fmt.Errorf("the build record of root %s is gone or damaged", ref.Root.Short())
	}
	return rec.Lock, nil
}

// SetName points ref.Name at ref's root, whatever it meant before: compare and swap until it holds.
func SetName(s *cache.Store, ref cache.Ref, now time.Time) error {
	ref.Time = now.UTC().Truncate(time.Second)
	for range 10 {
		var old *cache.Digest
		switch cur, err := s.Ref(ref.Name); {
		case err == nil && cur.Root == ref.Root && cur.Key == ref.Key && string(cur.Info) == string(ref.Info):
			return nil
		case err == nil:
			old = &cur.Root
		case !errors.Is(err, cache.ErrNotFound):
			return err
		}
		err := s.SetRef(ref, old)
		var changed *cache.RefError
		if !errors.As(err, &changed) {
			return err
		}
	}
	return fmt.Errorf("set name %s: others keep changing it", ref.Name)
}
