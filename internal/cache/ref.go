package cache

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Ref is a name for a root.
type Ref struct {
	Name string          `json:"name"`
	Root Digest          `json:"root"`
	Key  Digest          `json:"key,omitempty"` // of the action that made the root
	Time time.Time       `json:"time"`
	Info json.RawMessage `json:"info,omitempty"` // the caller's
}

const maxRefName = 200

// CheckRefName says what is wrong with name: it must be SUITE[-VARIANT][:ARCH] or a tag of the same
// letters. No name is a path, hidden, an option or a digest.
func CheckRefName(name string) error {
	base, arch, hasArch := strings.Cut(name, ":")
	ok := base != "" && len(name) <= maxRefName && alnum(base[0]) && !Digest(name).Valid() &&
		refLetters(base, "._+-") && (!hasArch || arch != "" && alnum(arch[0]) && refLetters(arch, "-"))
	if !ok {
		return &RefNameError{name}
	}
	return nil
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func refLetters(s, also string) bool {
	for i := range len(s) {
		if !alnum(s[i]) && strings.IndexByte(also, s[i]) < 0 {
			return false
		}
	}
	return true
}

// A RefNameError is a name that no root can have.
type RefNameError struct{ Name string }

func (e *RefNameError) Error() string { return fmt.Sprintf("bad name %q", e.Name) }
func (e *RefNameError) Hint() string {
	return "a name is letters, digits and . _ + -, begins with a letter or digit, and may end in :ARCH"
}

// Ref looks a name up. ErrNotFound also stands for a damaged record.
func (s *Store) Ref(name string) (Ref, error) {
	if err := CheckRefName(name); err != nil {
		return Ref{}, err
	}
	b, err := s.readRecord("refs", name)
	if err != nil {
		return Ref{}, fmt.Errorf("%s: %w", name, err)
	}
	var r Ref
	if err := json.Unmarshal(b, &r); err != nil || r.Name != name || !r.Root.Valid() {
		return Ref{}, fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return r, nil
}

// SetRef gives r.Name to r.Root. If old is not nil the name must still be what *old says, "" for
// absent; else nothing is changed and the error is a *RefError.
func (s *Store) SetRef(r Ref, old *Digest) error {
	if err := CheckRefName(r.Name); err != nil {
		return err
	}
	if !r.Root.Valid() {
		return badDigest(r.Root)
	}
	b, err := json.Marshal(r)
	if err == nil {
		err = s.changeRef(r.Name, r.Root, func() error {
			if err := s.compareRef(r.Name, old); err != nil {
				return err
			}
			return s.writeRecord("refs", r.Name, b)
		})
	}
	if err != nil {
		return fmt.Errorf("set %s: %w", r.Name, err)
	}
	return nil
}

func (s *Store) compareRef(name string, old *Digest) error {
	if old == nil {
		return nil
	}
	now, err := s.Ref(name)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if now.Root != *old {
		return &RefError{Name: name, Old: *old, Now: now.Root}
	}
	return nil
}

// DeleteRef takes a name away; ErrNotFound if there is none.
func (s *Store) DeleteRef(name string) error {
	if err := CheckRefName(name); err != nil {
		return err
	}
	err := s.changeRef(name, "", func() error {
		err := os.Remove(s.path("refs", name))
		if err == nil {
			err = syncDir(s.path("refs"))
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// Refs returns all names in order, without damaged ones.
func (s *Store) Refs() ([]Ref, error) {
	names, err := s.listDir("refs")
	if err != nil {
		return nil, fmt.Errorf("list names: %w", err)
	}
	refs := make([]Ref, 0, len(names))
	for _, name := range names {
		if r, err := s.Ref(name); err == nil {
			refs = append(refs, r)
		}
	}
	return refs, nil
}

// StoreRelease keeps the last verified Release of a source, against rollback. id follows the rules of a
// ref's name. replace, if not nil, is asked whether b may take the place of what is there: nobody else writes meanwhile.
func (s *Store) StoreRelease(id string, b []byte, replace func(now []byte) bool) error {
	err := CheckRefName(id)
	if err == nil {
		err = s.storeRelease(id, b, replace)
	}
	if err != nil {
		return fmt.Errorf("store release %s: %w", id, err)
	}
	return nil
}

func (s *Store) storeRelease(id string, b []byte, replace func(now []byte) bool) error {
	if s.readOnly {
		return ErrReadOnly
	}
	l, err := s.lock(context.Background(), "index", unix.LOCK_EX, nil) // held for milliseconds
	if err != nil {
		return err
	}
	defer l.Close()
	if now, err := s.readRecord("releases", id); err == nil && replace != nil && !replace(now) {
		return nil
	}
	return s.writeRecord("releases", id, b)
}

// Releases lists the ids under which StoreRelease kept something, sorted.
func (s *Store) Releases() ([]string, error) { return s.listDir("releases") }

// LoadRelease returns what StoreRelease kept, or ErrNotFound.
func (s *Store) LoadRelease(id string) ([]byte, error) {
	if err := CheckRefName(id); err != nil {
		return nil, err
	}
	b, err := s.readRecord("releases", id)
	if err != nil {
		return nil, fmt.Errorf("release %s: %w", id, err)
	}
	return b, nil
}
