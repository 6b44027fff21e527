package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What a plain collection leaves of things that nothing refers to and that a run or a user may want again.
const (
	keepLayers = 16
	keepLogs   = 20
)

// away makes a file or folder vanish into trash/, and notes it. One that is gone already is nobody's loss.
func (c *collection) away(i Item, path string) error {
	if !c.o.DryRun {
		err := c.toBin(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	c.del++
	c.out.add(i)
	return nil
}

// toBin renames path into trash/, under a name of its own: a folder there that more is put into would be found not empty
// by another process's Sweep, which removes it meanwhile.
func (c *collection) toBin(path string) error {
	return os.Rename(path, c.s.path("trash", randomName()))
}

// sweepUnnamed takes downloads, blobs and records that nothing refers to. The store lock is held: no builder is between
// a download and the record that names it.
func (c *collection) sweepUnnamed() error {
	for _, f := range []struct{ kind, folder string }{{KindDownload, "dl/sha256"}, {KindBlob, "oci/blobs/sha256"}} {
		names, err := c.s.listDir(f.folder)
		if err != nil {
			return err
		}
		for _, n := range names {
			d, why := Digest(n), "no record of a root that is there names it"
			if c.o.All {
				why = "all"
			} else if c.o.Bare {
				why = "a root can be used without"
			} else if d.Valid() && c.live.count[d] > 0 {
				continue
			}
			path := c.s.path(f.folder, n)
			if err := c.away(Item{f.kind, n, treeBytes(path), why}, path); err != nil {
				return err
			}
		}
	}
	for _, l := range stale(c.rest, c.o.All || c.o.Bare) {
		if err := c.away(Item{KindRecord, l.path, l.bytes, "of no root that is there"}, c.s.path(l.path)); err != nil {
			return err
		}
		c.sum -= l.bytes
	}
	if c.o.DryRun {
		return nil
	}
	_, err := c.s.RebuildIndex(context.Background()) // images may have lost their blobs
	return err
}

// dropNames takes away the names of roots that are gone.
func (c *collection) dropNames() error {
	gone := map[string]bool{}
	for _, i := range c.out.Removed {
		if i.Kind == KindRoot {
			gone[i.Name] = true
		}
	}
	drop := func() error {
		refs, err := c.s.Refs()
		if err != nil {
			return err
		}
		for _, r := range refs {
			if c.s.hasRoot(r.Root) && !(c.o.DryRun && gone[string(r.Root)]) {
				continue
			}
			path := c.s.path("refs", r.Name)
			n := treeBytes(path)
			if !c.o.DryRun {
				if err := os.Remove(path); err != nil {
					return err
				}
			}
			c.out.add(Item{KindName, r.Name, n, "its root is gone"})
			c.sum -= n
		}
		return nil
	}
	if c.o.DryRun {
		return drop()
	}
	return c.s.changeRefs(drop)
}

// others takes layers, logs and, if all is to go, scratch folders and parts of downloads.
func (c *collection) others() error {
	if err := c.oldest("layers", KindLayer, keepLayers, func(path string) (func(), error) {
		l, err := c.s.lockLayer(path, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			return nil, err
		}
		return l.Close, nil
	}); err != nil {
		return err
	}
	if err := c.oldest("logs", KindLog, keepLogs, func(string) (func(), error) { return func() {}, nil }); err != nil {
		return err
	}
	if !c.o.All {
		return nil
	}
	if !c.o.DryRun {
		_ = os.Remove(c.s.path(listingFile)) // derived
	}
	return errors.Join(c.scratch(), c.parts())
}

// oldest takes what a folder holds beyond its newest, or all of it. hold keeps others from using one, or gives ErrBusy.
func (c *collection) oldest(folder, kind string, keep int, hold func(path string) (func(), error)) error {
	names, err := c.s.listDir(folder)
	if err != nil {
		return err
	}
	made := map[string]time.Time{}
	for _, n := range names {
		if st, err := os.Lstat(c.s.path(folder, n)); err == nil {
			made[n] = st.ModTime()
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return made[b].Compare(made[a]) })
	why := "older than the newest " + strconv.Itoa(keep)
	if c.o.All || c.o.Bare {
		keep, why = 0, "all"
	}
	for _, n := range names[min(keep, len(names)):] {
		path := c.s.path(folder, n)
		release, err := hold(path)
		if errors.Is(err, ErrBusy) {
			c.out.InUse = append(c.out.InUse, Item{kind, n, treeBytes(path), why})
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		bytes := treeBytes(path)
		err = c.away(Item{kind, n, bytes, why}, path)
		release()
		if err != nil {
			return err
		}
		c.sum -= bytes
	}
	return nil
}

// scratch takes the folders of containers that nobody uses, with their locks: whoever locks one looks whether it is
// still there.
func (c *collection) scratch() error {
	names, err := c.s.listDir("scratch")
	if err != nil {
		return err
	}
	for _, name := range names {
		n, ok := strings.CutSuffix(name, ".lock")
		if !ok {
			continue
		}
		path := c.s.path("scratch", n)
		lock, err := c.s.openScratch(path + ".lock")
		if errors.Is(busy(err), ErrBusy) {
			continue
		}
		if err != nil {
			return err
		}
		if isKept(path) {
			lock.Close()
			c.out.InUse = append(c.out.InUse, Item{KindScratch, "scratch/" + n, treeBytes(path), "a container keeps it"})
			continue
		}
		err = c.away(Item{KindScratch, "scratch/" + n, treeBytes(path), "all"}, path)
		if err == nil && !c.o.DryRun {
			err = os.Remove(path + ".lock")
		}
		lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// parts takes broken downloads that a next try would go on with.
func (c *collection) parts() error {
	names, err := c.s.listDir("tmp")
	if err != nil {
		return err
	}
	for _, name := range names {
		hex, ok := strings.CutSuffix(name, ".part")
		d := Digest(hex)
		if !ok || !d.Valid() {
			continue
		}
		l, err := c.s.openLock(blobLock(d))
		if err != nil {
			return err
		}
		if err = c.s.flockFile(l, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			err = c.away(Item{KindTemp, "tmp/" + name, treeBytes(c.s.partPath(d)), "all"}, c.s.partPath(d))
		}
		l.Close()
		if err != nil && busy(err) != ErrBusy {
			return err
		}
	}
	return nil
}

// delete frees the room of what was renamed away.
func (c *collection) delete(ctx context.Context) error {
	var done int64
	step := func() error {
		if done++; c.o.Progress != nil && done%64 == 0 {
			c.o.Progress(min(done, c.del), c.del)
		}
		return ctx.Err()
	}
	names, err := c.s.listDir("trash")
	errs := []error{err}
	for _, n := range names {
		err := removeSlowly(c.s.path("trash", n), step)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, err)
	}
	_, err = c.s.sweep(false)
	return errors.Join(append(errs, err)...)
}

// removeSlowly deletes path and all below it, calling step before each entry; step's error ends it.
func removeSlowly(path string, step func() error) error {
	if err := step(); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil { // no directory, or one that must be opened up
		return removeTree(path)
	}
	for _, e := range entries {
		at := filepath.Join(path, e.Name())
		if e.IsDir() {
			err = removeSlowly(at, step)
		} else if err = step(); err == nil {
			err = os.Remove(at)
		}
		if err != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
			return err
		}
	}
	return removeTree(path)
}
