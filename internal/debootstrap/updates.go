package debootstrap

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

// InfoUpdates says what the security pocket, as of a date, has newer than a root made without it.
type InfoUpdates struct {
	Suite    string    `json:"suite"`
	Date     time.Time `json:"date"`     // of its Release
	Packages int       `json:"packages"` // of the root, that have a newer version there
}

const securityPocket = "security"

// addUpdates notes in res what the security pocket has newer. With CheckUpdates it is asked for. Else a
// root that was just made is compared with what the store has, and a cached one keeps what was noted.
func (j *job) addUpdates(ctx context.Context, res *Result) error {
	r := j.req
	if res.Lock == nil || slices.Contains(r.Pockets, securityPocket) || !r.CheckUpdates && res.Cached {
		return nil
	}
	o, err := j.archiveOptions([]string{securityPocket})
	var ar *archive.Archive
	switch ok := false; {
	case err == nil && r.CheckUpdates:
		ar, err = archive.Open(ctx, o)
	case err == nil:
		if ar, ok = archive.AtHand(o); !ok {
			return nil
		}
	}
	var found *InfoUpdates
	var release func()
	if err == nil {
		release, err = j.holdStore(ctx)
	}
	if err == nil {
		defer release()
		found, err = newerThere(ctx, ar, r.Components, res.Lock)
	}
	switch {
	case err != nil && !r.CheckUpdates:
		j.Log.Debug("security updates not counted", "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("the root is made, but look for security updates: %w", err)
	case res.Info.Updates != nil && *found == *res.Info.Updates:
		return nil
	}
	res.Info.Updates = found
	return j.noteUpdates(res)
}

// holdStore keeps a collection from taking the indices while they are read.
func (j *job) holdStore(ctx context.Context) (release func(), err error) {
	if j.Store.ReadOnly() {
		return func() {}, nil
	}
	l, err := j.Store.LockStore(ctx)
	if err != nil {
		return nil, err
	}
	return l.Close, nil
}

// noteUpdates adds what was found to the records of the root and of the request.
func (j *job) noteUpdates(res *Result) error {
	if j.Store.ReadOnly() {
		return nil
	}
	var rec rootRecord
	ok, err := j.Store.LoadAction(res.Key, &rec)
	if err == nil && ok {
		rec.Info.Updates = res.Info.Updates
		err = j.Store.StoreAction(res.Key, rec)
	}
	if err != nil {
		return fmt.Errorf("record the security updates: %w", err)
	}
	return j.remember(res, false)
}

// newerThere counts the packages of a lock of which the archive's only pocket has a newer version.
func newerThere(ctx context.Context, ar *archive.Archive, components []string, lock *Lock) (*InfoUpdates, error) {
	p := ar.Pockets[0]
	var sources []resolve.Source
	for _, c := range components {
		data, err := ar.Packages(ctx, p, c)
		if err != nil {
			return nil, err
		}
		sources = append(sources, resolve.Source{Pocket: p.Name, Component: c, Data: data})
	}
	ix, err := resolve.NewIndex(sources)
	if err != nil {
		return nil, err
	}
	found := &InfoUpdates{Suite: p.Suite, Date: p.Release.Date}
	for _, have := range lock.Packages {
		there, ok := ix.Lookup(have.Name)
		if !ok {
			continue
		}
		c, err := version.Compare(there.Field("Version"), have.Version)
		if err != nil {
			return nil, fmt.Errorf("index of %s, %s: %w", p.Suite, have.Name, err)
		}
		if c > 0 {
			found.Packages++
		}
	}
	return found, nil
}

// checkUpdates says why CheckUpdates cannot be meant.
func (r Request) checkUpdates() error {
	_, has := r.Suite.Pocket(securityPocket)
	switch {
	case !r.CheckUpdates:
		return nil
	case r.Offline:
		return &UsageError{What: "security updates cannot be looked for offline", Next: "drop --offline or --check-updates"}
	case !has:
		return &UsageError{What: fmt.Sprintf("%s has no security pocket", r.Suite.Codename), Next: "drop --check-updates"}
	case len(r.mirrorURLs(securityPocket)) == 0:
		return &UsageError{What: "no mirror is left to look for security updates", Next: "name one with --mirror security=URL, or drop --only-mirror"}
	}
	return nil
}
