package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// adopt makes new records of containers whose kept copies lie in the cache and whose records have gone, as they do with
// each start of the machine. What it cannot look at stays as it is.
func (a *app) adopt(dir *state.Dir) {
	store, err := a.openAs(cache.Options{Existing: true})
	if err != nil || store.Absent() || store.ReadOnly() {
		return
	}
	copies, err := store.KeptCopies()
	if err != nil || len(copies) == 0 {
		return
	}
	list, err := dir.List()
	if err != nil {
		return
	}
	for _, k := range copies {
		if slices.ContainsFunc(list, func(c *state.Container) bool { return c.Copy == k.Path }) {
			continue
		}
		if err := a.adoptCopy(dir, store, k); err != nil {
			a.log().Debug("a container's copy stays without a record", "copy", k.Path, "error", err)
		}
	}
}

func (a *app) adoptCopy(dir *state.Dir, store *cache.Store, k cache.KeptCopy) error {
	var was keptContainer
	if json.Unmarshal(k.Note, &was) != nil || filepath.Base(was.Record) != was.Container.ID { // it is of an older rootctl, or was cut off
		was = keptContainer{Container: state.Container{Created: k.Made}}
	} else if _, err := os.Lstat(was.Record); err == nil {
		return nil // it is known elsewhere
	}
	lock, err := store.LockKeptNow(k.Path)
	if err != nil {
		return err // it begins or runs, or has just been removed
	}
	defer lock.Close()
	c := &was.Container
	c.Root, c.Copy, c.Cache, c.Keep = string(k.Root), k.Path, store.Dir(), true
	path, err := dir.Adopt(c)
	if err != nil {
		return err
	}
	b, err := json.Marshal(keptContainer{path, *c})
	if err != nil {
		return err
	}
	return store.Annotate(k.Path, b)
}
