package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CollectOptions are the bounds of a collection; the zero value removes what nothing refers to and no root.
type CollectOptions struct {
	MaxSize int64         // bytes that the cache may take; 0: any
	MaxAge  time.Duration // how long a root may be unused; 0: for ever
	Free    int64         // bytes to make free, whatever the bounds: the disk is full
	All     bool          // all that is not in use, named roots too
	Bare    bool          // all that the named roots can be used without: other roots, downloads, images, layers, logs
	DryRun  bool          // only say what would go

	Wait     time.Duration           // for other collections and for builders to end
	Progress func(done, total int64) // files deleted; may be nil
}

// Collected is what a collection did, or would do.
type Collected struct {
	Removed []Item `json:"removed"`
	Freed   int64  `json:"freed"`
	InUse   []Item `json:"in_use"`            // would have gone, were they not leased
	Skipped string `json:"skipped,omitempty"` // why only roots were looked at
	Bytes   int64  `json:"bytes"`             // what the cache takes afterwards
	Named   int64  `json:"named"`             // of that, roots that have a name
}

// Collect removes what the bounds and the absence of references say: roots without a name that are too old or, least
// recently used first, too many; what nothing refers to; what killed processes left. Nothing that is leased goes, however
// its age is judged. ErrBusy means that another collection is at it.
//
// What goes is renamed away under the locks and deleted afterwards, so that builders wait for renames only. When ctx
// ends, what is renamed but not deleted is left to the next Sweep.
func (s *Store) Collect(ctx context.Context, o CollectOptions) (*Collected, error) {
	c, err := s.collect(ctx, o)
	if err != nil {
		return c, fmt.Errorf("collect: %w", s.fault(err))
	}
	return c, nil
}

func (s *Store) collect(ctx context.Context, o CollectOptions) (*Collected, error) {
	if s.readOnly {
		return nil, ErrReadOnly
	}
	gc, err := s.lockFor(ctx, o.Wait, "gc")
	if err != nil {
		return nil, err
	}
	defer gc.Close()
	c := &collection{s: s, o: o, out: &Collected{Removed: []Item{}, InUse: []Item{}}}
	store, err := s.lockFor(ctx, o.Wait, "store")
	if errors.Is(err, ErrBusy) {
		c.out.Skipped = "a build or import is under way: downloads and records were not looked at"
	} else if err != nil {
		return nil, err
	}
	err = c.choose(ctx, store != nil)
	closeLock(store)
	if err == nil && !o.DryRun {
		err = c.delete(ctx)
	}
	return c.out, err
}

// lockFor takes a lock for itself alone; ErrBusy if that does not come about in time.
func (s *Store) lockFor(ctx context.Context, wait time.Duration, name string) (*os.File, error) {
	in, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	f, err := s.openLock(name)
	if err != nil {
		return nil, err
	}
	if err := s.waitLock(in, f, unix.LOCK_EX, nil); err != nil {
		f.Close()
		if ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
			err = ErrBusy
		}
		return nil, err
	}
	return f, nil
}

// A collection is one Collect under way.
type collection struct {
	s    *Store
	o    CollectOptions
	out  *Collected
	sum  int64 // bytes of the cache as it becomes
	was  int64 // what they were
	del  int64 // entries to delete
	live *marks
	rest []loose
	size map[Digest]int64 // of downloads and blobs; nil if only roots are looked at
}

func (c *collection) choose(ctx context.Context, sweep bool) error {
	if err := c.litter(); err != nil {
		return err
	}
	roots, err := c.s.rootUsage()
	if err != nil {
		return err
	}
	there := make(map[Digest]bool, len(roots))
	for _, r := range roots {
		there[r.Digest] = true
		c.sum += r.Bytes
		c.was += r.Bytes
		if !c.o.DryRun {
			c.s.mendStamp(r.Digest)
		}
	}
	oldest := time.Time{}
	if c.o.MaxAge > 0 {
		oldest = c.s.now().Add(-c.o.MaxAge)
	}
	if sweep {
		if c.live, c.rest, err = c.s.readMarks(there, oldest); err != nil {
			return err
		}
	}
	if err := c.measure(sweep); err != nil {
		return err
	}
	if err := c.evict(ctx, roots, oldest); err != nil {
		return err
	}
	if sweep {
		if err := c.sweepUnnamed(); err != nil {
			return err
		}
		if err := c.dropNames(); err != nil {
			return err
		}
	}
	if err := c.others(); err != nil {
		return err
	}
	c.out.Bytes = c.sum
	return nil
}

// litter lists what killed processes left; Sweep takes it later.
func (c *collection) litter() error {
	found, err := c.s.sweep(true)
	seen := map[string]bool{}
	for _, path := range found {
		folder, name, _ := strings.Cut(path, "/")
		why := "left by a process that was killed"
		switch folder {
		case "use", "locks", "roots":
			path = "roots/" + string(rootNamed(name))
			why = "not whole"
		case "scratch":
			path = strings.TrimSuffix(path, ".lock")
		}
		if c.o.All && (folder == "scratch" || strings.HasSuffix(path, ".part")) {
			continue // all of these go
		}
		if !seen[path] {
			seen[path] = true
			c.out.add(Item{KindTemp, path, treeBytes(c.s.path(path)), why})
		}
	}
	return err
}

func (r *Collected) add(i Item) {
	r.Removed = append(r.Removed, i)
	r.Freed += i.Bytes
}

// measure adds up what is no root, and notes the sizes of what records refer to.
func (c *collection) measure(sweep bool) error {
	if sweep {
		c.size = map[Digest]int64{}
	}
	for _, k := range kindFolders {
		if k.kind == KindTemp || k.kind == KindScratch {
			continue
		}
		for _, folder := range k.folders {
			names, err := c.s.listDir(folder)
			if err != nil {
				return err
			}
			for _, n := range names {
				bytes := treeBytes(c.s.path(folder, n))
				c.sum += bytes
				c.was += bytes
				if d := Digest(n); sweep && (k.kind == KindDownload || k.kind == KindBlob) && d.Valid() {
					c.size[d] += bytes
					if c.o.All || c.o.Bare || c.live.count[d] == 0 {
						c.sum -= bytes // goes anyway
					}
				}
			}
		}
	}
	return nil
}

// evict takes roots: all, those unused for too long, and then by last use until the rest is within the bounds.
func (c *collection) evict(ctx context.Context, roots []RootUsage, oldest time.Time) error {
	var kept []RootUsage
	for _, r := range roots {
		why := ""
		switch {
		case c.o.All && len(r.Names) > 0:
			why = "all: " + strings.Join(r.Names, " ")
		case c.o.All:
			why = "all"
		case c.o.Bare && len(r.Names) == 0:
			why = "no name"
		case len(r.Names) == 0 && r.Used.Before(oldest):
			why = "no name, last used on " + r.Used.UTC().Format(time.DateOnly)
		}
		if why == "" {
			kept = append(kept, r)
			continue
		}
		if err := c.take(ctx, r, why); err != nil {
			return err
		}
	}
	for _, r := range kept {
		over := c.o.MaxSize > 0 && c.sum > c.o.MaxSize || c.was-c.sum < c.o.Free
		if len(r.Names) > 0 {
			c.out.Named += r.Bytes
		} else if over {
			if err := c.take(ctx, r, "no name, the longest unused of a cache over its bound"); err != nil {
				return err
			}
		}
	}
	return nil
}

// take makes a root vanish, unless it is leased.
func (c *collection) take(ctx context.Context, r RootUsage, why string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	item := Item{KindRoot, string(r.Digest), r.Bytes, why}
	if c.o.DryRun {
		if c.s.inUse(r.Digest) {
			c.out.InUse = append(c.out.InUse, item)
			return nil
		}
	} else if _, err := c.s.unlinkRoot(r.Digest, false); errors.Is(err, ErrBusy) {
		c.out.InUse = append(c.out.InUse, item)
		return nil
	} else if err != nil {
		return err
	}
	c.out.add(item)
	c.sum -= r.Bytes
	c.del += int64(r.entries)
	if c.live != nil {
		c.rest = append(c.rest, c.live.drop(r.Digest, func(d Digest) { // goes along, with nobody left to name it
			if n := c.size[d]; n > 0 && !c.o.All && !c.o.Bare {
				c.sum -= n
			}
		})...)
	}
	return nil
}

// Over reports cheaply whether a collection with the bounds of o would look for something to evict.
func (s *Store) Over(o CollectOptions) (bool, error) {
	roots, err := s.rootUsage()
	if err != nil {
		return false, err
	}
	c := &collection{s: s, o: o}
	oldest := s.now().Add(-o.MaxAge)
	for _, r := range roots {
		c.sum += r.Bytes
		if o.MaxAge > 0 && len(r.Names) == 0 && r.Used.Before(oldest) {
			return true, nil
		}
	}
	err = c.measure(false)
	return o.MaxSize > 0 && c.sum > o.MaxSize, err
}
