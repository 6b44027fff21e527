package debootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// RefOfRoot finds the record of a root that no name stands for, with empty Info if there is none. That of a build counts
// for more than that of an import or a commit: the bytes are the same. It reads all records.
func RefOfRoot(s *cache.Store, d cache.Digest) (cache.Ref, error) {
	found := s.RecordsOf([]cache.Digest{d})[d]
	if found.Info == nil {
		found.Info = canonical(Info{})
	}
	return found, nil
}

// RefOfKey is a nameless ref to what the record of a build, an import or a commit made, or cache.ErrNotFound.
func RefOfKey(s *cache.Store, key cache.Digest) (cache.Ref, error) {
	var rec struct {
		Kind string          `json:"kind"`
		Root cache.Digest    `json:"root"`
		Info json.RawMessage `json:"info"`
	}
	ok, err := s.LoadAction(key, &rec)
	if err != nil {
		return cache.Ref{}, err
	}
	if !ok || rec.Kind != "root" && rec.Kind != "import" && rec.Kind != "commit" {
		return cache.Ref{}, cache.ErrNotFound
	}
	return cache.Ref{Root: rec.Root, Key: key, Info: rec.Info}, nil
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

// commitRecord stands in actions/ for a root made of a container's copy.
type commitRecord struct {
	Kind   string       `json:"kind"` // "commit"
	Root   cache.Digest `json:"root"`
	Parent cache.Digest `json:"parent"`
	Info   Info         `json:"info"`
}

// RememberCommit records a sealed root that was made in a container over the root info.Committed.Parent, and returns a
// nameless ref to it.
func RememberCommit(s *cache.Store, root cache.Digest, info Info) (cache.Ref, error) {
	key := cache.Sum([]byte("commit " + root))
	if err := s.StoreAction(key, commitRecord{"commit", root, info.Committed.Parent, info}); err != nil {
		return cache.Ref{}, fmt.Errorf("record the commit: %w", err)
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
