package debootstrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
)

// rootRecord is what stands in actions/ under a root key (K2), written once the root is sealed.
type rootRecord struct {
	Kind string       `json:"kind"` // "root"
	Root cache.Digest `json:"root"`
	Info Info         `json:"info"`
	Lock *Lock        `json:"lock"`
	// The selection's key (K1) that led to it first; "" in older records.
	Resolve cache.Digest `json:"resolve,omitempty"`
}

// requestRecord stands under a request key: the root a request led to last.
type requestRecord struct {
	Kind string       `json:"kind"` // "request"
	Root cache.Digest `json:"root"`
	Key  cache.Digest `json:"key"`
	Info Info         `json:"info"`
	// The selection's key (K1) that led to it last; "" in older records.
	Resolve cache.Digest `json:"resolve,omitempty"`
}

// fromLast answers from the last build of the same request; cause is why no mirror could be asked, nil
// when none was to be.
func (j *job) fromLast(ctx context.Context, cause error) (*Result, error) {
	ref, err := LastBuilt(j.Store, j.req)
	if err == nil {
		var lease *cache.Lease
		if lease, err = j.Store.Lease(ctx, ref.Root); err == nil {
			res, err := j.result(ref.Root, ref.Key, lease, ref.Info)
			if err == nil && len(res.Info.Pockets) > 0 {
				res.Unchecked = &res.Info.Pockets[0].Date
			}
			return res, err
		}
	}
	switch {
	case cause != nil:
		return nil, cause
	case errors.Is(err, cache.ErrNotFound):
		return nil, &offlineMiss{j.req.Suite.Codename}
	}
	return nil, err
}

// offlineMiss is --offline for something the cache does not hold.
type offlineMiss struct{ suite string }

func (e *offlineMiss) Error() string {
	return fmt.Sprintf("offline: no root of this request (suite %s and these flags) is in the cache", e.suite)
}
func (e *offlineMiss) Unwrap() error { return archive.ErrOffline }
func (e *offlineMiss) Hint() string {
	return "run it once without --offline, or see rootctl ls for what there is"
}

// LastBuilt is a nameless ref to the root that req led to last, or cache.ErrNotFound.
func LastBuilt(s *cache.Store, req Request) (cache.Ref, error) {
	req, err := req.normalize()
	if err != nil {
		return cache.Ref{}, err
	}
	var rec requestRecord
	ok, err := s.LoadAction(requestKey(req).Key, &rec)
	if err != nil {
		return cache.Ref{}, err
	}
	if !ok || rec.Kind != "request" {
		return cache.Ref{}, cache.ErrNotFound
	}
	return cache.Ref{Root: rec.Root, Key: rec.Key, Info: canonical(rec.Info)}, nil
}

func (j *job) result(root, key cache.Digest, lease *cache.Lease, info []byte) (*Result, error) {
	res := &Result{Root: root, Key: key, Lease: lease, Cached: true, Seconds: j.seconds, took: time.Since(j.start), Downloaded: j.downloaded.Load()}
	if err := json.Unmarshal(info, &res.Info); err != nil {
		lease.Close()
		return nil, fmt.Errorf("read the record of root %s: %w", root.Short(), err)
	}
	return res, nil
}

// lookup leases the root of a key, nil when it is not there; the records of this request are brought
// up to date, since a re-signed or newly verified archive may lead to a root that is there.
func (j *job) lookup(ctx context.Context, key keyed, l *resolved) (*Result, error) {
	var rec rootRecord
	ok, err := j.Store.LoadAction(key.Key, &rec)
	if err != nil || !ok || rec.Kind != "root" {
		return nil, err
	}
	lease, err := j.Store.Lease(ctx, rec.Root)
	if errors.Is(err, cache.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// run needs the tree alone; a build answers for all of it, so it reads the manifest. A damaged one makes
	// the root a miss, and it is built anew.
	if _, err := lease.Manifest(); err != nil {
		lease.Close()
		j.Log.Warn("the cached root is damaged and is built anew", "root", rec.Root, "error", err)
		return nil, nil
	}
	if j.Fit != nil && !j.Store.ReadOnly() {
		if err := j.Fit(lease); err != nil {
			lease.Close()
			return nil, j.discard(rec.Root, err)
		}
	}
	info := l.info
	if j.fixed {
		info = rec.Info // what a file says of its origin adds nothing to what is known of the root
	}
	info.Packages, info.Epoch, info.TarSize, info.Built = rec.Info.Packages, rec.Info.Epoch, rec.Info.TarSize, rec.Info.Built
	info.Updates, info.Extends, info.Pulled = rec.Info.Updates, rec.Info.Extends, rec.Info.Pulled
	res := &Result{Root: rec.Root, Key: key.Key, Lease: lease, Cached: true, Info: info, Lock: l.Lock, resolve: l.key.Key,
		Seconds: j.seconds, took: time.Since(j.start), Downloaded: j.downloaded.Load()}
	if err := j.remember(res, !verified(rec.Info) && verified(info)); err != nil {
		lease.Close()
		return nil, err
	}
	j.mendInputs(key, requestKey(j.req))
	return res, nil
}

// mendInputs writes anew what keys that were known are made of, where it was lost: no build stands or falls with it.
func (j *job) mendInputs(keys ...keyed) {
	if j.Store.ReadOnly() || j.fixed {
		return
	}
	for _, k := range keys {
		if len(k.Input) == 0 {
			continue
		}
		if err := j.Store.StoreInputs(k.Key, k.Input); err != nil {
			j.Log.Debug("keep the inputs of a key", "key", k.Key, "error", err)
		}
	}
}

// remember writes the request's record, and the root's when it is new or was unverified until now. On
// a read-only cache it does nothing.
func (j *job) remember(res *Result, root bool) error {
	if j.Store.ReadOnly() {
		return nil
	}
	if root {
		if err := j.Store.StoreAction(res.Key, rootRecord{kindRoot, res.Root, res.Info, res.Lock, res.resolve}); err != nil {
			return fmt.Errorf("record the root: %w", err)
		}
	}
	if j.fixed {
		return nil
	}
	rk := requestKey(j.req)
	var old requestRecord
	want := requestRecord{kindRequest, res.Root, res.Key, res.Info, res.resolve}
	if ok, err := j.Store.LoadAction(rk.Key, &old); err == nil && ok && string(canonical(old)) == string(canonical(want)) {
		return nil
	}
	if err := errors.Join(j.Store.StoreInputs(rk.Key, rk.Input), j.Store.StoreAction(rk.Key, want)); err != nil {
		return fmt.Errorf("record the request: %w", err)
	}
	return nil
}

// discard makes room for a root that is built anew. What of it this user cannot delete stays in the trash.
func (j *job) discard(root cache.Digest, why error) error {
	j.Log.Warn("the cached root cannot be used and is built anew", "root", root, "error", why)
	err := j.Store.Remove(root)
	if errors.Is(err, cache.ErrBusy) {
		return fmt.Errorf("%w, and it is in use", why)
	}
	if err != nil {
		j.Log.Debug("delete the old root", "error", err)
	}
	return nil
}
