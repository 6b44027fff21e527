package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

func newCacheVerifyCommand(a *app) *cobra.Command {
	var roots, dry, asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "read all of the cache and compare it with its checksums",
		Long: "verify hashes every download, blob and record and checks every manifest; with --roots it compares the trees with\n" +
			"their manifests, too. What is damaged is removed: what was built is made anew by the next build that wants it,\n" +
			"what was imported has to be imported again. A root in use is only reported, and with --dry-run all is. The exit code\n" +
			"is 1 if anything was damaged.",
		Example: "  rootctl cache verify\n  rootctl cache verify --roots --dry-run",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := a.existingStore()
			if err != nil {
				return err
			}
			var done bool
			if done, a.enterErr = a.enterAgain(); done {
				return nil
			}
			defer a.catchSignals()()
			o := cache.VerifyOptions{Roots: roots, DryRun: dry, Metadata: a.tellsOwners, Progress: a.verifyProgress()}
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
				err = a.printVerified(store, got, dry)
			}
			if err == nil && len(got.Bad) > 0 {
				a.exit = codeFailed
			}
			return err
		},
	}
	c.Flags().BoolVar(&roots, "roots", false, "compare every root's tree with its manifest")
	c.Flags().BoolVar(&dry, "dry-run", false, "only report what is damaged")
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

func (a *app) printVerified(store *cache.Store, got *cache.Verified, dry bool) error {
	var items int
	var bytes int64
	table := io.Writer(a.stdout)
	if a.quiet {
		table = io.Discard
	}
	w := tabwriter.NewWriter(table, 0, 0, 2, ' ', 0)
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
		case dry:
			what = "not removed: a dry run"
		case b.InUse:
			what = "in use, so it was not removed: end what runs in it and verify again"
		case store.ReadOnly():
			what = "not removed: the cache is read-only"
		case !b.Removed:
			what = "not removed"
		}
		fmt.Fprintln(a.stdout, oneLine(fmt.Sprintf("BAD %s %s: %s (%s)", b.Kind, badName(b), b.Reason, what)))
	}
	if len(got.Bad) == 0 {
		a.say("all %d are whole (%s read)", items, bytesText(bytes))
		return nil
	}
	if a.enterErr != nil {
		a.warn("your other ids could not be had: %v", a.enterErr)
	}
	return withHint(fmt.Errorf("%d of %d things in the cache were damaged", len(got.Bad), items), "%s", a.healHint(store, got.Bad, dry))
}

// badName is a damaged thing's name, and a root's names.
func badName(b cache.Damage) string {
	name := shortName(cache.Item{Name: b.Name})
	if len(b.Names) > 0 {
		name += " (" + strings.Join(b.Names, " ") + ")"
	}
	return name
}

// imported reports whether a root without a name came from outside or of a container, so that no build makes it.
func (a *app) imported(store *cache.Store, b cache.Damage) bool {
	ref, err := debootstrap.RefOfRoot(store, cache.Digest(b.Name))
	var info debootstrap.Info
	return err == nil && json.Unmarshal(ref.Info, &info) == nil && !info.HasLock()
}

// healHint says what to do about damages.
func (a *app) healHint(store *cache.Store, bad []cache.Damage, dry bool) string {
	var next []string
	if dry {
		next = append(next, "rootctl cache verify, without --dry-run, takes it out of use")
	} else if store.ReadOnly() {
		return "verify the cache where it can be written to, or replace it"
	}
	built := false
	for _, b := range bad {
		switch {
		case b.InUse || len(b.Names) > 0:
		case b.Kind == "ref":
			next = append(next, fmt.Sprintf("rootctl tag DIGEST %s gives the name again", b.Name))
		case b.Kind == cache.KindRoot && a.imported(store, b):
			next = append(next, b.Name[:12]+": import it again")
		default:
			built = true
		}
		for _, n := range b.Names {
			if ref, err := store.Ref(n); err == nil {
				next = append(next, n+": "+a.againHint(ref))
			}
		}
	}
	if built && !dry {
		next = append(next, "what was removed and was built or downloaded is made anew by the next build")
	}
	if len(next) == 0 {
		return "end what uses it, and verify again"
	}
	return strings.Join(next, "; ")
}
