package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/debootstrap"
)

// namesArgs wants any number of names, none where a lock file or a recipe has some.
func (s *selection) namesArgs(c *cobra.Command, given []string) error {
	if len(given) > 0 {
		return nil
	}
	return s.buildArgs(c, given)
}

// orRecipe are the names, or where none is given those of the recipe's roots.
func (s *selection) orRecipe(names []string) ([]string, error) {
	if len(names) > 0 {
		return names, nil
	}
	r, err := s.recipe()
	if err != nil {
		return nil, err
	}
	return r.Names(), nil
}

// lockedKeys is cache key for roots of a lock file: it asks nobody.
func (a *app) lockedKeys(sel *selection, names []string, asJSON bool) error {
	roots, err := sel.lockedRoots(a, names)
	if err != nil {
		return err
	}
	var titles []string
	var all []*debootstrap.Keys
	for _, r := range roots {
		titles, all = append(titles, r.name), append(all, debootstrap.KeysOfLock(r.lock))
	}
	if asJSON {
		return a.printJSON(newKeyReport(keyInputs(titles, all)))
	}
	return a.printKeys(titles, all)
}

// lockedWhy is cache why for roots of a lock file.
func (a *app) lockedWhy(ctx context.Context, sel *selection, names []string, asJSON bool) error {
	roots, err := sel.lockedRoots(a, names)
	if err != nil {
		return err
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	type entry struct {
		Lock string `json:"lock"`
		*debootstrap.Why
	}
	var entries []entry
	for _, r := range roots {
		why, err := debootstrap.WhyLocked(ctx, store, r.lock)
		if err != nil {
			return fmt.Errorf("cache why %s: %w", r.name, err)
		}
		entries = append(entries, entry{r.name, why})
	}
	if asJSON {
		return a.printJSON(lockedOneOrList(names, entries))
	}
	for _, e := range entries {
		a.printWhy(e.Lock, e.Why, true)
	}
	return nil
}

// lockedOneOrList is an object for the one root that was named, else a list, as build --lock has it.
func lockedOneOrList[T any](names []string, entries []T) any {
	if len(names) == 1 {
		return entries[0]
	}
	return entries
}
