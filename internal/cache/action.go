package cache

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"time"
)

// LoadAction reads the result of the action key into v and reports whether there is one. A damaged
// record, or one that v cannot hold, is a miss: the action is done again. v may be half filled then.
func (s *Store) LoadAction(key Digest, v any) (bool, error) {
	if !key.Valid() {
		return false, badDigest(key)
	}
	b, err := s.readRecord("actions", string(key))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("load action %s: %w", key.Short(), err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		s.log.Warn("action of another form, done again", "key", key, "err", err)
		return false, nil
	}
	return true, nil
}

// StoreAction records v as the result of the action key. It comes last: all that v names is sealed and
// leased by then.
func (s *Store) StoreAction(key Digest, v any) error {
	if !key.Valid() {
		return badDigest(key)
	}
	b, err := json.Marshal(v)
	if err == nil {
		err = s.writeRecord("actions", string(key), b)
	}
	if err != nil {
		return fmt.Errorf("store action %s: %w", key.Short(), err)
	}
	return nil
}

// Actions yields the key and the record of every whole action, sorted by key.
func (s *Store) Actions() iter.Seq2[Digest, json.RawMessage] {
	return func(yield func(Digest, json.RawMessage) bool) {
		names, err := s.listDir("actions")
		if err != nil {
			s.log.Warn("list actions", "err", err)
		}
		for _, name := range names {
			b, err := s.readRecord("actions", name)
			if err == nil && Digest(name).Valid() && !yield(Digest(name), b) {
				return
			}
		}
	}
}

// StoreInputs keeps the text that key is the digest of, for "cache why".
func (s *Store) StoreInputs(key Digest, canonicalJSON []byte) error {
	if got := Sum(canonicalJSON); got != key {
		return fmt.Errorf("store inputs of key %s: their digest is %s", key.Short(), got.Short())
	}
	path := s.path("inputs", string(key)+".json")
	if _, err := s.LoadInputs(key); err == nil {
		return nil
	}
	if err := s.write(path, canonicalJSON); err != nil {
		return fmt.Errorf("store inputs of key %s: %w", key.Short(), err)
	}
	return nil
}

// An Input is what StoreInputs kept, and when.
type Input struct {
	Key  Digest
	Text []byte
	Time time.Time
}

// Inputs yields all that StoreInputs kept and that is whole, in no order. It tells what was built before, and
// nothing more hangs on it.
func (s *Store) Inputs() iter.Seq[Input] {
	return func(yield func(Input) bool) {
		names, err := s.listDir("inputs")
		if err != nil {
			s.log.Warn("list inputs", "err", err)
		}
		for _, name := range names {
			key := Digest(strings.TrimSuffix(name, ".json"))
			st, err := os.Lstat(s.path("inputs", name))
			if err != nil || !key.Valid() {
				continue
			}
			if b, err := s.LoadInputs(key); err == nil && !yield(Input{key, b, st.ModTime()}) {
				return
			}
		}
	}
}

// LoadInputs returns what StoreInputs kept, or ErrNotFound.
func (s *Store) LoadInputs(key Digest) ([]byte, error) {
	if !key.Valid() {
		return nil, badDigest(key)
	}
	b, err := readFile(s.path("inputs", string(key)+".json"), maxRecord)
	if err != nil || Sum(b) != key {
		return nil, fmt.Errorf("inputs of key %s: %w", key.Short(), ErrNotFound)
	}
	return b, nil
}
