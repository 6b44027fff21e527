package debootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
)

// A Key is a key of the cache and the text that it is the digest of.
type Key struct {
	Key   cache.Digest    `json:"key"`
	Input json.RawMessage `json:"input"` // null where it is not recorded any more
}

// Keys are those that a build of a request looks up.
type Keys struct {
	Request Key `json:"request"` // of what was asked for
	Resolve Key `json:"resolve"` // K1: of what decides the selection of packages
	Root    Key `json:"root"`    // K2: of what decides the root's bytes; "" by a Release alone
	// Of what decides the root's bytes beside the packages, where no index was read.
	Rules *Key `json:"rules,omitempty"`
	// Set when no mirror was asked: the archive's date of the last build.
	Unchecked *time.Time `json:"not_checked_since,omitempty"`

	lock *Lock // nil if no mirror was asked
}

// Keys computes the keys of a request from what the archive holds now, and builds nothing. Offline, or where no mirror
// answers, they are those of the last build of the same request.
func (b *Builder) Keys(ctx context.Context, req Request) (*Keys, error) {
	req, err := req.normalize()
	if err != nil {
		return nil, err
	}
	if b.Progress == nil {
		b.Progress = func(Event) {}
	}
	j := &job{Builder: b, req: req, start: time.Now(), seconds: make(map[string]float64)}
	if req.Offline {
		return j.lastKeys(nil)
	}
	ar, err := j.open(ctx)
	if errors.Is(err, archive.ErrOffline) && !req.Fresh {
		return j.lastKeys(err)
	}
	if err != nil {
		return nil, err
	}
	l, err := j.resolve(ctx, ar)
	if err != nil {
		return nil, err
	}
	return &Keys{Request: requestKey(req).shown(), Resolve: l.key.shown(), Root: rootKey(l.Lock).shown(), lock: l.Lock}, nil
}

// ReleaseKeys are what Keys can tell by Release files alone: as long as K1 and Rules are the same, so is K2. No index is read.
func (b *Builder) ReleaseKeys(ctx context.Context, req Request) (*Keys, error) {
	req, err := req.normalize()
	if err != nil {
		return nil, err
	}
	if b.Progress == nil {
		b.Progress = func(Event) {}
	}
	j := &job{Builder: b, req: req, start: time.Now(), seconds: make(map[string]float64)}
	ar, err := j.open(ctx)
	if err != nil {
		return nil, err
	}
	key, l, err := j.emptyLock(ar)
	if err != nil {
		return nil, err
	}
	rules := rootKey(l).shown()
	return &Keys{Request: requestKey(req).shown(), Resolve: key.shown(), Rules: &rules, lock: l}, nil
}

// emptyLock is what resolve gives, without the packages.
func (j *job) emptyLock(ar *archive.Archive) (keyed, *Lock, error) {
	req, key, err := j.resolveKey(ar)
	if err != nil {
		return key, nil, err
	}
	l := req.lock(closure{}, lockReleases(req.places(ar)))
	if req.Parent != nil {
		if _, l.Parent, err = j.above().emptyLock(ar); err != nil {
			return key, nil, err
		}
	}
	return key, l, nil
}

// KeysOfLock are the keys of a root that a lock file says: that of the root alone, for no request led to it.
func KeysOfLock(l *Lock) *Keys { return &Keys{Root: rootKey(l).shown(), lock: l} }

func (k keyed) shown() Key { return Key{k.Key, k.Input} }

// lastKeys are those recorded by the last build of the request.
func (j *job) lastKeys(cause error) (*Keys, error) {
	rk := requestKey(j.req)
	var rec requestRecord
	ok, err := j.Store.LoadAction(rk.Key, &rec)
	switch {
	case err != nil:
		return nil, err
	case (!ok || rec.Kind != kindRequest) && cause != nil:
		return nil, cause
	case !ok || rec.Kind != kindRequest:
		return nil, &offlineMiss{j.req.Suite.Codename}
	}
	k := &Keys{Request: rk.shown(), Resolve: j.recorded(rec.Resolve), Root: j.recorded(rec.Key)}
	if len(rec.Info.Pockets) > 0 {
		k.Unchecked = &rec.Info.Pockets[0].Date
	}
	return k, nil
}

// recorded is a key with its input, if that is there.
func (j *job) recorded(key cache.Digest) Key {
	if !key.Valid() {
		return Key{}
	}
	text, err := j.Store.LoadInputs(key)
	if err != nil {
		return Key{Key: key}
	}
	return Key{key, text}
}
