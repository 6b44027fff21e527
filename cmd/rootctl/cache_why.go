package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/debootstrap"
)

// maxChanges is how many differences are printed; --json has all.
const maxChanges = 12

func newCacheWhyCommand(a *app) *cobra.Command {
	var sel selection
	var asJSON bool
	c := &cobra.Command{
		Use:   "why [flags] [SUITE[-VARIANT][:ARCH]...] | --lock FILE [NAME...]",
		Short: "say whether a build would hit the cache, and if not what made it miss",
		Long: "why asks the archive what a build with the same flags would ask, builds nothing, and compares with the nearest\n" +
			"earlier build of the suite. Its exit code is 0 for hits and misses alike. Without a name it is the roots of rootctl.toml.",
		Example: "  rootctl cache why bionic\n  rootctl cache why trixie --include curl\n  rootctl cache why --offline --json bionic\n  rootctl cache why --lock rootctl.lock",
		Args:    args(sel.namesArgs),
		RunE: func(c *cobra.Command, names []string) error {
			if asJSON {
				a.quiet = true
			}
			if sel.lockFile != "" {
				return a.lockedWhy(c.Context(), &sel, names, asJSON)
			}
			names, err := sel.orRecipe(names)
			if err != nil {
				return err
			}
			all, err := askEach(names, func(name string) (*debootstrap.Why, error) {
				var why *debootstrap.Why
				err := a.asked(c.Context(), &sel, name, func(ctx context.Context, b *debootstrap.Builder, req debootstrap.Request) (err error) {
					why, err = b.Why(ctx, req)
					return err
				})
				if err != nil {
					return nil, fmt.Errorf("cache why %s: %w", name, err)
				}
				return why, nil
			})
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(oneOrList(all))
			}
			for i, why := range all {
				a.printWhy(names[i], why, sel.offline)
			}
			return nil
		},
	}
	c.Flags().SortFlags = false
	sel.register(c.Flags())
	sel.registerLock(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object, or a list of them for several suites")
	return c
}

func (a *app) printWhy(name string, w *debootstrap.Why, offline bool) {
	line := func(format string, args ...any) {
		fmt.Fprintln(a.stdout, printable(fmt.Sprintf(format, args...)))
	}
	root := w.Root.Short()
	switch w.Reason {
	case debootstrap.WhyCached:
		by := ""
		if w.Nearest.Locked {
			by = " by a lock file"
		}
		line("%s: hit: root %s, built %s%s", name, root, dayOf(w.Nearest.Time), by)
	case debootstrap.WhyCollected:
		line("%s: miss: the same was built before, but its root was collected", name)
	case debootstrap.WhyDamaged:
		line("%s: miss: root %s is damaged", name, root)
	case debootstrap.WhyNever:
		line("%s: miss: never built, and nothing else of %s was", name, w.Suite)
	default:
		line("%s: miss: never built; the nearest is of %s%s, and differs in", name, dayOf(w.Nearest.Time), ofRoot(w.Nearest))
	}
	if w.Hit && len(w.Changes) > 0 {
		line("since it was built, without effect on it:")
	}
	for i, c := range w.Changes {
		if i == maxChanges && len(w.Changes) > maxChanges+1 {
			line("  and %d more: --json lists them", len(w.Changes)-i)
			break
		}
		line("  %s", oneLine(c.Text))
	}
	switch {
	case w.Unchecked == nil:
	case !offline:
		line("no mirror answered: as of the archive of %s", dayOf(*w.Unchecked))
	default:
		line("no mirror was asked: as of the archive of %s", dayOf(*w.Unchecked))
	}
}

func dayOf(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func ofRoot(n *debootstrap.Nearest) string {
	if n.Root == "" {
		return ""
	}
	return " (root " + n.Root.Short() + ")"
}
