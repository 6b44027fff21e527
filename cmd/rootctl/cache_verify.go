package main

import (
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/cache"
)

func newCacheVerifyCommand(a *app) *cobra.Command {
	var roots, asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "read all of the cache and compare it with its checksums",
		Long: "verify hashes every download, blob and record and checks every manifest; with --roots it compares the trees with\n" +
			"their manifests, too. What is damaged is removed and made anew by the next build that wants it; a root in use is\n" +
			"only reported. The exit code is 1 if anything was damaged.",
		Example: "  rootctl cache verify",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := a.openStore()
			if err != nil {
				return err
			}
			var done bool
			if done, a.enterErr = a.enter(); done {
				return nil
			}
			defer a.catchSignals()()
			o := cache.VerifyOptions{Roots: roots, Metadata: a.tellsOwners, Progress: a.verifyProgress()}
			got, err := store.Verify(c.Context(), o)
			if o.Progress != nil {
				fmt.Fprint(a.stderr, "\r\x1b[K")
			}
			if err != nil && c.Context().Err() != nil {
				err = &interrupted{err, "what was found damaged until then is gone"}
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = a.printJSON(got)
			} else {
				err = a.printVerified(got, store.ReadOnly())
			}
			if err == nil && len(got.Bad) > 0 {
				a.exit = codeFailed
			}
			return err
		},
	}
	c.Flags().BoolVar(&roots, "roots", false, "compare every root's tree with its manifest")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// tellsOwners says whether the disk has a root's owners and modes: not where a user has one id, or had when it was made.
func (a *app) tellsOwners(l *cache.Lease) bool {
	return a.inside == nil || !a.inside.single() && !l.Flat()
}

func (a *app) verifyProgress() func(string, int64) {
	if a.quiet || !term.IsTerminal(int(a.stderr.Fd())) {
		return nil
	}
	var shown time.Time
	return func(kind string, read int64) {
		if now := time.Now(); now.Sub(shown) > 100*time.Millisecond {
			shown = now
			fmt.Fprintf(a.stderr, "\r%s\x1b[K", fit(fmt.Sprintf("reading: %ss, %s", kind, bytesText(read)), columns(a.stderr)-1))
		}
	}
}

func (a *app) printVerified(got *cache.Verified, readOnly bool) error {
	var items int
	var bytes int64
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tITEMS\tREAD")
	for _, k := range got.Checked {
		items, bytes = items+k.Items, bytes+k.Bytes
		fmt.Fprintf(w, "%s\t%d\t%s\n", k.Kind, k.Items, bytesText(k.Bytes))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, b := range got.Bad {
		what := "removed"
		switch {
		case b.InUse:
			what = "in use, so it was not removed: end what runs in it and verify again"
		case readOnly:
			what = "not removed: the cache is read-only"
		case !b.Removed:
			what = "not removed"
		}
		fmt.Fprintln(a.stdout, oneLine(fmt.Sprintf("BAD %s %s: %s (%s)", b.Kind, shortName(cache.Item{Name: b.Name}), b.Reason, what)))
	}
	if len(got.Bad) == 0 {
		a.say("all %d are whole (%s read)", items, bytesText(bytes))
		return nil
	}
	if a.enterErr != nil {
		a.warn("your other ids could not be had: %v", a.enterErr)
	}
	return withHint(fmt.Errorf("%d of %d things in the cache were damaged", len(got.Bad), items), "what was removed is made anew by the next build")
}
