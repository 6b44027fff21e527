package debootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
)

// Reasons of a Why.
const (
	WhyCached    = "cached"      // a hit
	WhyCollected = "collected"   // it was built, and its root is gone since
	WhyDamaged   = "damaged"     // it is there and not whole
	WhyChanged   = "changed"     // something like it was built, and Changes say what differs
	WhyNever     = "never built" // nothing of the suite was
)

// Why says whether a build of a request finds its root in the cache, and what made it miss.
type Why struct {
	Suite   string       `json:"suite"`
	Variant string       `json:"variant"`
	Arch    string       `json:"arch"`
	Hit     bool         `json:"hit"`
	Reason  string       `json:"reason"`
	Root    cache.Digest `json:"root,omitempty"` // that the key led to, if it ever did
	Keys    struct {
		Request cache.Digest `json:"request"`
		Resolve cache.Digest `json:"resolve,omitempty"`
		Root    cache.Digest `json:"root,omitempty"`
	} `json:"keys"`
	Unchecked *time.Time `json:"not_checked_since,omitempty"`
	Nearest   *Nearest   `json:"nearest,omitempty"` // what Changes are counted from
	Changes   []Change   `json:"changes"`
}

// Nearest is the earlier key of the same kind and suite that differs least.
type Nearest struct {
	Kind string       `json:"kind"`
	Key  cache.Digest `json:"key"`
	Root cache.Digest `json:"root,omitempty"`
	Time time.Time    `json:"time"` // built, or recorded
	// Locked says that it was built from a lock file: no selection of packages led to it.
	Locked bool `json:"locked,omitempty"`
}

// Why asks the archive what Build would ask (nothing when offline) and compares with what was built before.
func (b *Builder) Why(ctx context.Context, req Request) (*Why, error) {
	req, err := req.normalize()
	if err != nil {
		return nil, err
	}
	w := &Why{Suite: req.Suite.Codename, Variant: req.Variant, Arch: req.Arch, Reason: WhyNever, Changes: []Change{}}
	own := requestKey(req)
	w.Keys.Request = own.Key
	keys, err := b.Keys(ctx, req)
	var miss *offlineMiss
	if errors.As(err, &miss) {
		w.nearest(b.Store, kindRequest, own.shown())
		return w, nil
	}
	if err != nil {
		return nil, err
	}
	return w, w.find(ctx, b.Store, keys)
}

// WhyLocked is Why for a root of a lock file, which asks nobody.
func WhyLocked(ctx context.Context, s *cache.Store, l *Lock) (*Why, error) {
	w := &Why{Suite: l.Suite, Variant: l.Variant, Arch: l.Arch, Reason: WhyNever, Changes: []Change{}}
	return w, w.find(ctx, s, KeysOfLock(l))
}

// find looks for the root of the keys, else for what is nearest.
func (w *Why) find(ctx context.Context, s *cache.Store, keys *Keys) error {
	w.Keys.Resolve, w.Keys.Root, w.Unchecked = keys.Resolve.Key, keys.Root.Key, keys.Unchecked
	var rec rootRecord
	ok, err := s.LoadAction(keys.Root.Key, &rec)
	if err != nil {
		return err
	}
	if ok && rec.Kind == kindRoot {
		return w.judge(ctx, s, keys, &rec)
	}
	if _, err := s.LoadInputs(keys.Root.Key); err == nil { // kept when it was sealed
		w.Reason = WhyCollected
		return nil
	}
	then := w.nearest(s, kindRoot, keys.Root)
	nameHooks(w.Changes, keys.lock)
	if w.Nearest != nil {
		w.compareSelection(s, then, keys)
	}
	return nil
}

// judge says what has become of the root that the key led to, as Build's look-up does.
func (w *Why) judge(ctx context.Context, s *cache.Store, keys *Keys, rec *rootRecord) error {
	w.Root = rec.Root
	lease, err := s.Lease(ctx, rec.Root)
	switch {
	case errors.Is(err, cache.ErrNotFound):
		w.Reason = WhyCollected
		if _, err := os.Lstat(filepath.Join(s.Dir(), "roots", string(rec.Root))); err == nil {
			w.Reason = WhyDamaged // the manifest of a damaged one is taken away
		}
		return nil
	case err != nil:
		return err
	}
	defer lease.Close()
	if _, err := lease.Manifest(); err != nil {
		w.Reason = WhyDamaged
		return nil
	}
	w.Hit, w.Reason = true, WhyCached
	w.Nearest = &Nearest{Kind: kindRoot, Key: keys.Root.Key, Root: rec.Root, Time: rec.Info.Built, Locked: rec.Info.Locked}
	w.compareSelection(s, rec.Resolve, keys)
	return nil
}

// nearest finds what differs least from an input and returns the selection's key that led to it, "" if not known.
func (w *Why) nearest(s *cache.Store, kind string, now Key) (resolve cache.Digest) {
	best := -1
	for in := range s.Inputs() {
		if in.Key == now.Key {
			continue
		}
		changes, far, ok := compareInputs(kind, w.Suite, in.Text, now.Input)
		if !ok {
			continue
		}
		if best >= 0 && (far > best || far == best && !in.Time.After(w.Nearest.Time)) {
			continue
		}
		best = far
		w.Reason, w.Changes = WhyChanged, changes
		w.Nearest = &Nearest{Kind: kind, Key: in.Key, Time: in.Time.UTC().Truncate(time.Second)}
	}
	if w.Nearest == nil {
		return ""
	}
	var rec rootRecord // a request's, too, has these fields
	if ok, err := s.LoadAction(w.Nearest.Key, &rec); err == nil && ok && rec.Kind == kind {
		w.Nearest.Root, w.Nearest.Time, w.Nearest.Locked = rec.Root, rec.Info.Built, rec.Info.Locked
		return rec.Resolve
	}
	return ""
}

// compareSelection puts what differs in the selection's input before the rest: flags and indices say more than
// packages do. then is its key at that time.
func (w *Why) compareSelection(s *cache.Store, then cache.Digest, keys *Keys) {
	if then == keys.Resolve.Key || keys.Resolve.Input == nil {
		return
	}
	was, err := s.LoadInputs(then)
	if err != nil {
		if w.Hit || w.Nearest.Locked {
			return // what another selection differs in is nothing that has changed since
		}
		old := Why{Suite: w.Suite}
		old.nearest(s, kindResolve, keys.Resolve)
		if old.Nearest == nil {
			return
		}
		then = old.Nearest.Key
		if was, err = s.LoadInputs(then); err != nil {
			return
		}
	}
	changes, _, ok := compareInputs(kindResolve, w.Suite, was, keys.Resolve.Input)
	if !ok {
		return
	}
	var before closure
	if found, err := s.LoadAction(then, &before); err != nil || !found {
		before.Packages = nil
	}
	for i := range changes {
		changes[i].countNewer(before.Packages, keys.lock)
	}
	w.Changes = append(changes, withoutRepeats(w.Changes, changes)...)
}

// withoutRepeats leaves out what the selection's input has said.
func withoutRepeats(list, said []Change) []Change {
	type what struct{ input, name string }
	known := make(map[what]bool)
	for _, c := range said {
		known[what{c.Input, c.Name}] = true
	}
	var out []Change
	for _, c := range list {
		if !known[what{c.Input, c.Name}] {
			out = append(out, c)
		}
	}
	return out
}

// decodeInput reads an input as far as it is of a kind and suite.
func decodeInput(kind, suite string, text []byte) (map[string]json.RawMessage, bool) {
	var head struct {
		Kind  string `json:"kind"`
		Suite string `json:"suite"`
	}
	fields := make(map[string]json.RawMessage)
	ok := json.Unmarshal(text, &head) == nil && head.Kind == kind && head.Suite == suite && json.Unmarshal(text, &fields) == nil
	return fields, ok
}
