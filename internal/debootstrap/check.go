package debootstrap

import (
	"context"
	"fmt"

	"github.com/rootctl/rootctl/internal/cache"
)

// A DifferentError is a root that came out otherwise when it was built a second time from the same inputs. The first one
// is kept.
type DifferentError struct {
	Key        cache.Digest
	First, Now cache.Digest
	Paths      []string // a line each: what differs and where
}

func (e *DifferentError) Error() string {
	return fmt.Sprintf("built again from the same inputs, root %s came out as %s: %d paths differ", e.First.Short(), e.Now.Short(), len(e.Paths))
}

// Hint says what may be done about it.
func (e *DifferentError) Hint() string {
	return "look for a maintainer script that writes times, random numbers or names of the host; the first root is kept"
}

// check builds what res holds a second time and compares. Nothing of the second root is kept.
func (j *job) check(ctx context.Context, ar packages, l *resolved, res *Result) error {
	if j.CanBuild != nil {
		if err := j.CanBuild(); err != nil {
			return err
		}
	}
	if j.req.Offline {
		if err := j.missing(l.Lock); err != nil {
			return err
		}
		ar = nowhere{len(l.Packages)}
	}
	sl, err := j.Store.LockStore(ctx)
	if err != nil {
		return err
	}
	defer sl.Close()
	release, err := j.withBase(ctx, ar, l)
	if err != nil {
		return err
	}
	defer release()
	var m *cache.Manifest
	var root cache.Digest
	err = j.inTemp(ctx, ar, l, func(_ *cache.Temp, tree string, inst *Installed) error {
		m, root, _, err = cache.Scan(ctx, tree, cache.ScanOptions{Epoch: inst.Epoch, Extra: inst.Devices, Owners: j.Owners})
		return err
	})
	if err != nil {
		return fmt.Errorf("build it again to compare: %w", err)
	}
	if root == res.Root {
		res.Checked = true
		return nil
	}
	first, err := res.Lease.Manifest()
	if err != nil {
		return err
	}
	return &DifferentError{Key: res.Key, First: res.Root, Now: root, Paths: first.Differences(m)}
}

// keepFirst looks for another root that the key has led to. If it is there it is kept, else its going is the only reason
// that the key leads elsewhere now; both are worth a warning.
func (j *job) keepFirst(ctx context.Context, key keyed, res *Result) error {
	var rec rootRecord
	ok, err := j.Store.LoadAction(key.Key, &rec)
	if err != nil || !ok || rec.Kind != kindRoot || rec.Root == res.Root {
		return err
	}
	res.Info.Warnings = append(res.Info.Warnings, fmt.Sprintf("the same inputs gave root %s before and %s now: build --check names what differs",
		rec.Root.Short(), res.Root.Short()))
	first, err := j.Store.Lease(ctx, rec.Root)
	if err != nil {
		return nil // which is why it was built again
	}
	if _, err := first.Manifest(); err != nil {
		first.Close()
		return nil
	}
	res.Lease.Close()
	res.Root, res.Lease = rec.Root, first
	res.Info.Packages, res.Info.Epoch, res.Info.TarSize, res.Info.Built = rec.Info.Packages, rec.Info.Epoch, rec.Info.TarSize, rec.Info.Built
	return nil
}
