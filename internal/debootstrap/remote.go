package debootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
)

// A Remote has what other machines made of a key. What it does not have, or cannot be asked for, is nil without an error;
// an error ends the build.
type Remote interface {
	// Closure is what a selection gave, as Result.Closure wrote it.
	Closure(ctx context.Context, key cache.Digest) ([]byte, error)
	// Root brings the root of a key into the cache.
	Root(ctx context.Context, key cache.Digest) (*Pulled, error)
	// Known is an archive's Release, as KnownReleases wrote it, nil if there is none. It is verified here.
	Known(ctx context.Context, name cache.Digest) []byte
}

// KnownReleases are the Releases that a Lock's packages were chosen by, for a Remote, as far as the cache has them.
func KnownReleases(s *cache.Store, l *Lock) (known []archive.Known) {
	if l == nil {
		return nil
	}
	for _, r := range l.Releases {
		if k, ok := archive.KnownAt(s, r.Suite, r.Mirror); ok && !r.Unverified {
			known = append(known, k)
		}
	}
	return known
}

// Pulled is a root that came from a Remote, leased.
type Pulled struct {
	Lease   *cache.Lease
	Epoch   int64 // no file is newer
	TarSize int64
	From    string
}

// StagePull is a root on its way from a Remote, in bytes; Item says from where.
const StagePull = "pull"

// pull takes the root of a key from the Remote; nil is a miss. The caller holds the key's lock.
func (j *job) pull(ctx context.Context, key keyed, l *resolved) (*Result, error) {
	if j.req.Check || l.Unshared != "" {
		return nil, nil
	}
	defer j.timed(StagePull, time.Now())
	p, err := j.Remote.Root(ctx, key.Key)
	if p == nil || err != nil {
		return nil, err
	}
	info := l.info
	info.Packages, info.Epoch, info.TarSize, info.Built = len(l.Packages), p.Epoch, p.TarSize, j.Now().UTC().Truncate(time.Second)
	info.Pulled = p.From
	res := &Result{Root: p.Lease.Root, Key: key.Key, Lease: p.Lease, Info: info, Lock: l.Lock, resolve: l.key.Key, Seconds: j.seconds,
		Downloaded: j.downloaded.Load(), Pulled: p.From}
	if err = j.keepFirst(ctx, key, res); err == nil {
		err = j.Store.StoreInputs(key.Key, key.Input)
	}
	if err == nil {
		err = j.remember(res, true)
	}
	if err != nil {
		res.Lease.Close()
		return nil, err
	}
	j.mendInputs(requestKey(j.req))
	res.took = time.Since(j.start)
	return res, nil
}

// pullClosure takes what a selection gave from the Remote; false is a miss.
func (j *job) pullClosure(ctx context.Context, key keyed) (c closure, ok bool, err error) {
	if j.Remote == nil || j.req.Offline || j.req.Check {
		return c, false, nil
	}
	text, err := j.Remote.Closure(ctx, key.Key)
	if err != nil || text == nil {
		return c, false, err
	}
	if c, err = readClosure(text); err != nil {
		j.Log.Warn("the remote cache's selection of packages is no good", "key", key.Key, "error", err)
		return closure{}, false, nil
	}
	return c, true, nil
}

// readClosure reads what another machine wrote. Every entry has to be what its paragraph of the index gives.
func readClosure(text []byte) (c closure, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, err
	}
	if len(c.Packages) == 0 {
		return c, errors.New("it is empty")
	}
	for i := range c.Packages {
		p := &c.Packages[i]
		again, err := lockPackage(resolve.Package{Name: control.Field(p.Stanza, "Package"), Pocket: p.Pocket, Stanza: p.Stanza, Order: p.Order}, p.Required, p.SHA256)
		if err != nil {
			return c, err
		}
		if again != *p {
			return c, fmt.Errorf("%q is not what its paragraph says", p.Name)
		}
	}
	return c, nil
}

// Closure is what the selection that led to a root's record gave, for a Remote, and its key; none if it is not known.
func Closure(s *cache.Store, rootKey cache.Digest) (key cache.Digest, text []byte) {
	var rec rootRecord
	if ok, err := s.LoadAction(rootKey, &rec); err != nil || !ok || rec.Kind != kindRoot || rec.Resolve == "" {
		return "", nil
	}
	var c closure
	if ok, err := s.LoadAction(rec.Resolve, &c); err != nil || !ok || len(c.Packages) == 0 {
		return "", nil
	}
	return rec.Resolve, canonical(c)
}
