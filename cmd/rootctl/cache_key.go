package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/debootstrap"
)

func newCacheKeyCommand(a *app) *cobra.Command {
	var sel selection
	var asJSON bool
	c := &cobra.Command{
		Use:   "key [flags] SUITE[-VARIANT][:ARCH]",
		Short: "print the keys under which a build looks its results up",
		Long: "key prints the keys of a build with the same flags: of the request, of the selection of packages (K1)\n" +
			"and of the root (K2). It asks the archive what a build would ask, and builds nothing.",
		Example: "  rootctl cache key bionic\n  rootctl cache key bionic --include curl --json\n  rootctl cache key --offline bionic",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if asJSON {
				a.quiet = true
			}
			var keys *debootstrap.Keys
			err := a.asked(c.Context(), &sel, names[0], func(ctx context.Context, b *debootstrap.Builder, req debootstrap.Request) (err error) {
				keys, err = b.Keys(ctx, req)
				return err
			})
			if err != nil {
				return fmt.Errorf("keys of %s: %w", names[0], err)
			}
			if asJSON {
				return a.printJSON(keys)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "request\t%s\nresolve (K1)\t%s\nroot (K2)\t%s\n", keys.Request.Key, keys.Resolve.Key, keys.Root.Key)
			return w.Flush()
		},
	}
	sel.register(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print the keys and their inputs as JSON")
	return c
}

// asked runs f on the request that a build with the same flags would have, with a builder that can ask the archive
// and build nothing.
func (a *app) asked(ctx context.Context, sel *selection, name string, f func(context.Context, *debootstrap.Builder, debootstrap.Request) error) error {
	set, err := a.suites()
	if err != nil {
		return err
	}
	req, wrong := sel.request(a, set, name)
	if wrong != nil && !sel.asksFor(wrong) {
		return wrong
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	defer a.catchSignals()()
	if req, err = a.settle(ctx, store, sel, set, name, req, wrong); err != nil {
		return err
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	p := a.startProgress()
	defer p.close()
	return f(ctx, &debootstrap.Builder{Store: store, Client: client, Suites: set, Now: a.now, Log: a.log(), Progress: p.report}, req)
}
