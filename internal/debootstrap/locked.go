package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
)

// Locked is the Lock that a request leads to.
type Locked struct {
	Lock      *Lock
	Request   Request // with its defaults filled in
	Warnings  []string
	Excused   []string   // what was let pass, a sentence each
	Unchecked *time.Time // set when no mirror was asked: the archive's date that was used
}

// Lock resolves a request and builds nothing. When no mirror answers, or with Offline, what was read last
// counts. Errors are those of Build.
func (b *Builder) Lock(ctx context.Context, req Request) (*Locked, error) {
	j, err := b.job(req)
	if err != nil {
		return nil, err
	}
	var l *resolved
	if j.req.Offline {
		ar, err := j.atHand()
		if err != nil {
			return j.lastLock(err)
		}
		if l, err = j.resolve(ctx, ar); err != nil {
			return nil, err
		}
		return j.locked(l, true), nil
	}
	ar, err := j.open(ctx)
	if errors.Is(err, archive.ErrOffline) && !req.Fresh {
		cause := err
		if ar, err = j.atHand(); err != nil {
			return j.lastLock(cause)
		}
		if l, err = j.resolve(ctx, ar); err != nil {
			return nil, err
		}
		return j.locked(l, true), nil
	}
	if err != nil {
		return nil, err
	}
	err = j.follow(ctx, ar, func() (err error) {
		l, err = j.resolve(ctx, ar)
		return err
	})
	if err != nil {
		return nil, err
	}
	return j.locked(l, false), nil
}

// job begins one piece of work.
func (b *Builder) job(req Request) (*job, error) {
	req, err := req.normalize()
	if err != nil {
		return nil, err
	}
	if b.Progress == nil {
		b.Progress = func(Event) {}
	}
	return &job{Builder: b, req: req, start: time.Now(), seconds: make(map[string]float64)}, nil
}

func (j *job) locked(l *resolved, unchecked bool) *Locked {
	out := &Locked{Lock: l.Lock, Request: j.req, Warnings: l.info.Warnings, Excused: l.info.Exceptions}
	if unchecked && len(l.Releases) > 0 {
		out.Unchecked = &l.Releases[0].Date
	}
	return out
}

// lastLock is the Lock of the root that the request led to last; cause is why nothing better is there.
func (j *job) lastLock(cause error) (*Locked, error) {
	ref, err := LastBuilt(j.Store, j.req)
	if err != nil {
		return nil, cause
	}
	l, err := LockOfRoot(j.Store, ref)
	if err != nil || len(l.Releases) == 0 {
		return nil, cause
	}
	return &Locked{Lock: l, Request: j.req, Unchecked: &l.Releases[0].Date}, nil
}

// BuildLocked returns the root of a Lock that somebody wrote down. Of req the mirrors, the suite's, the
// snapshot service and Offline count. The bytes are what the Lock's digests say or there is no root; who
// signed the archive nobody checks, so the root's Info says Locked, unless a verified build has made the
// same root before. A root that is there is found without asking anybody. Scripts are granted as little as
// those of an unverified archive unless the user has vouched for the Lock.
func (b *Builder) BuildLocked(ctx context.Context, l *Lock, req Request, vouched bool) (*Result, error) {
	j, pool, err := b.lockedJob(l, req)
	if err != nil {
		return nil, err
	}
	j.vouched = vouched
	info := j.req.info(l.Releases, nil)
	info.Locked, info.Sources = true, sourceIn(l)
	if su, err := b.Suites.Lookup(l.Suite); err == nil && su.Codename == l.Suite {
		// In no key, for with the packages they are given; yet one of them orders the stages.
		own := *l
		own.Rules.ExtraRequired, own.Rules.DropDepends, own.Rules.HTTPSPackages = su.Rules.ExtraRequired, su.Rules.DropDepends, su.Rules.HTTPSPackages
		l = &own
	}
	return j.fromLock(ctx, pool, &resolved{Lock: l, info: info})
}

// lockedJob begins work on a Lock that somebody wrote down, and says where its packages are.
func (b *Builder) lockedJob(l *Lock, req Request) (*job, *archive.Pool, error) {
	if err := l.Validate(); err != nil {
		return nil, nil, err
	}
	if b.Progress == nil {
		b.Progress = func(Event) {}
	}
	req.Arch, req.Variant = l.Arch, l.Variant
	req.Suite.Codename = l.Suite
	j := &job{Builder: b, req: req, start: time.Now(), seconds: make(map[string]float64), fixed: true}
	pool := &archive.Pool{Mirrors: make(map[string][]string), Client: b.Client, Store: b.Store, Log: b.Log, OnBytes: j.received}
	for _, r := range l.Releases {
		pool.Mirrors[r.Pocket] = req.lockedMirrors(r, b.Now())
		for _, s := range req.Added.Sources {
			if s.pocket() == r.Pocket {
				pool.Mirrors[r.Pocket] = []string{s.URL}
			}
		}
	}
	return j, pool, nil
}

// FetchLocked has the packages of a Lock in the cache, from where BuildLocked has them. Until the caller's lock of the
// store is closed nobody collects them.
func (b *Builder) FetchLocked(ctx context.Context, l *Lock, req Request) error {
	j, pool, err := b.lockedJob(l, req)
	if err != nil {
		return err
	}
	d := &downloads{ready: make(map[string]chan struct{})}
	for _, p := range l.fresh() {
		d.ready[p.Name] = make(chan struct{})
	}
	return j.download(ctx, pool, l, d)
}

// sourceIn is the mirror that a Lock's sources.list names first.
func sourceIn(l *Lock) string {
	for _, f := range l.Files {
		if f.Path != "/etc/apt/sources.list" {
			continue
		}
		for _, word := range strings.Fields(f.Content) {
			if u, err := url.Parse(word); err == nil && u.Scheme != "" && u.Host != "" {
				return withoutUser(word)
			}
		}
	}
	return ""
}

// lockedMirrors are where to look for a pocket's packages: the mirrors as for a build, the snapshot service
// as of the Lock's time, then where the suite may have gone.
func (r Request) lockedMirrors(l LockRelease, now time.Time) []string {
	var urls []string
	add := func(more ...string) {
		for _, u := range more {
			if u != "" && !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
		}
	}
	at := r.At
	r.At = time.Time{}
	add(r.mirrorURLs(l.Pocket)...)
	if r.OnlyThese {
		return urls
	}
	for _, t := range snapshotTimes(at, l.Date, now) {
		add(r.snapshotURL(l.Pocket, t))
	}
	_, others := r.ownMirrors(l.Pocket)
	add(others...)
	return urls
}

// snapshotTimes are when a snapshot holds what a Release of a date leads to: the time it was asked for
// as of, else some hours after its date, for a service takes its snapshots of a mirror a few times a day,
// and archives keep what they have superseded for a day or two.
func snapshotTimes(at, date, now time.Time) []time.Time {
	if !at.IsZero() {
		return []time.Time{at}
	}
	var all []time.Time
	for _, later := range []time.Duration{6 * time.Hour, 24 * time.Hour} {
		if t := date.Add(later); t.Before(now) {
			all = append(all, t)
		}
	}
	return append(all, date)
}

// KeyOf is the key (K2) of the root that a Lock describes: two Locks of one key are the same root.
func KeyOf(l *Lock) cache.Digest { return rootKey(l).Key }

// Missing is what would have to be fetched.
type Missing struct {
	What  string // "packages", or what else is missing
	Of    int    // how many there are in all, 0 if that is not known
	Items []MissingItem
	Next  string // the next step
}

// MissingItem is one file that is not in the cache.
type MissingItem struct {
	Name string `json:"name"` // of a package with its version, or of an index
	Path string `json:"path,omitempty"`
	Size int64  `json:"size,omitempty"` // in bytes, 0 if it is not known
}

func (e *Missing) Error() string {
	if e.Of > 0 {
		return fmt.Sprintf("offline: %d of %d %s are not in the cache", len(e.Items), e.Of, e.What)
	}
	return fmt.Sprintf("offline: %s are not in the cache", e.What)
}

// Unwrap makes it archive.ErrOffline.
func (e *Missing) Unwrap() error { return archive.ErrOffline }

// Hint is the next step to take.
func (e *Missing) Hint() string { return e.Next }
