package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
)

func newCachePruneCommand(a *app) *cobra.Command {
	var ci, dry, asJSON bool
	c := &cobra.Command{
		Use:   "prune --ci",
		Short: "leave in the cache only what a CI system's cache has to carry",
		Long: "prune --ci removes what roots with a name can be used without: roots without one, downloads, images, layers, logs and\n" +
			"records of roots that are gone. What is in use stays. It says how many bytes went.",
		Example: "  rootctl cache prune --ci --dry-run\n  rootctl cache prune --ci",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if !ci {
				return withHint(&flagError{errors.New("what prune is to leave is not said")}, "rootctl cache prune --ci, or rootctl cache gc for a cache that stays here")
			}
			store, err := a.existingStore()
			if err != nil {
				return err
			}
			if store.Absent() {
				return a.printCollected(&cache.Collected{Removed: []cache.Item{}, InUse: []cache.Item{}}, cache.CollectOptions{}, asJSON)
			}
			var done bool
			if done, a.enterErr = a.enterAgain(); done {
				return nil
			}
			return a.gc(c.Context(), store, cache.CollectOptions{Bare: true, DryRun: dry, Wait: collectWait}, asJSON)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.BoolVar(&ci, "ci", false, "for a CI system's cache")
	f.BoolVar(&dry, "dry-run", false, "only list what would go")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
