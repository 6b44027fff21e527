package main

import "github.com/spf13/cobra"

// newCacheCommand is the parent of the verbs that are about the cache itself.
func newCacheCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "look after the cache, and ask it why",
		Args:  args(cobra.NoArgs),
	}
	c.AddCommand(newCacheKeyCommand(a))
	c.AddCommand(newCacheWhyCommand(a))
	c.AddCommand(newCacheDfCommand(a))
	c.AddCommand(newCacheGCCommand(a))
	c.AddCommand(newCacheVerifyCommand(a))
	c.AddCommand(newCachePruneCommand(a))
	c.AddCommand(newCacheSaveCommand(a))
	c.AddCommand(newCacheRestoreCommand(a))
	return c
}
