package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// collectWait is how long a collection that the user asked for waits for builders, which keep what they fetch.
const collectWait = 10 * time.Second

func newCacheGCCommand(a *app) *cobra.Command {
	var size, age string
	var all, dry, asJSON bool
	c := &cobra.Command{
		Use:   "gc",
		Short: "make the cache smaller: old roots without a name, and what nothing refers to",
		Long: "gc removes roots that have no name (rootctl untag takes one away) and were not used for long or, the longest unused\n" +
			"first, are too many; then downloads, records and layers that nothing refers to, and what killed processes left.\n" +
			"What is in use stays, always. The bounds are those of the configuration unless flags give others.",
		Example: "  rootctl cache gc --dry-run\n  rootctl cache gc --max-size 5GB --max-age 14d\n  rootctl cache gc --all",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := a.existingStore()
			if err != nil {
				return err
			}
			b, err := a.bounds(store.Dir(), size, age)
			if err != nil {
				return err
			}
			if store.Absent() {
				return a.printCollected(&cache.Collected{Removed: []cache.Item{}, InUse: []cache.Item{}}, cache.CollectOptions{}, asJSON)
			}
			// A user's trees belong to the user's other ids, which only root of the namespace can remove.
			var done bool
			if done, a.enterErr = a.enterAgain(); done {
				return nil
			}
			o := cache.CollectOptions{MaxSize: b.size, MaxAge: b.age, All: all, DryRun: dry, Wait: collectWait}
			return a.gc(c.Context(), store, o, asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&size, "max-size", "", "the most that the cache may take: `SIZE` like 20GB, or none (default a tenth of the disk, at most 20GB)")
	f.StringVar(&age, "max-age", "", "how long a root without a name may be unused: `AGE` like 60d, or none (default 60d)")
	f.BoolVar(&all, "all", false, "remove all that is not in use, named roots too")
	f.BoolVar(&dry, "dry-run", false, "only list what would go")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) gc(ctx context.Context, store *cache.Store, o cache.CollectOptions, asJSON bool) error {
	defer a.catchSignals()()
	got, err := a.collect(ctx, store, o)
	if errors.Is(err, cache.ErrBusy) {
		return withHint(errors.New("another collection of this cache is under way"), "wait for it")
	}
	if err != nil {
		if a.enterErr != nil {
			err = withHint(fmt.Errorf("%w; your other ids could not be had: %w", err, a.enterErr), "%s", hintOf(a.enterErr))
		}
		return err
	}
	if err := a.printCollected(got, o, asJSON); err != nil || asJSON {
		return err
	}
	if copies, err := copyRows(store); err == nil && len(copies) > 0 {
		var sum int64
		for _, c := range copies {
			sum += c.Bytes
		}
		a.say("copies of containers (%d, %s) and their roots stay until rootctl rm; rootctl ps -a lists them", len(copies), bytesText(sum))
	}
	return nil
}

func (a *app) printCollected(got *cache.Collected, o cache.CollectOptions, asJSON bool) error {
	if asJSON {
		return a.printJSON(got)
	}
	if o.DryRun {
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		for _, i := range got.Removed {
			fmt.Fprintf(w, "%s %s\t%s\t%s\n", i.Kind, shortName(i), bytesText(i.Bytes), i.Why)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for _, i := range got.InUse {
		a.say("in use, kept: %s %s (%s)", i.Kind, shortName(i), bytesText(i.Bytes))
	}
	if got.Skipped != "" {
		a.say("note: %s", got.Skipped)
	}
	a.say("%s", collectedLine(got, o))
	if o.MaxSize > 0 && got.Bytes > o.MaxSize && !o.All {
		a.say("%s", overLine(got, o))
	}
	return nil
}

// overLine says what keeps a cache over its bound after a collection.
func overLine(got *cache.Collected, o cache.CollectOptions) string {
	over := fmt.Sprintf("it is over its bound of %s", bytesText(o.MaxSize))
	if got.Named == 0 {
		return over + ": what is left is in use, or indices and records that the next build reads; rootctl cache df lists it, rootctl cache gc --all removes it"
	}
	return fmt.Sprintf("%s: roots with a name take %s; rootctl cache df lists them, rootctl untag NAME frees one", over, bytesText(got.Named))
}

func shortName(i cache.Item) string {
	if d := cache.Digest(i.Name); d.Valid() {
		return d.Short()
	}
	return i.Name
}

// collect runs a collection, and says on a terminal how far it is.
func (a *app) collect(ctx context.Context, store *cache.Store, o cache.CollectOptions) (*cache.Collected, error) {
	began, shown := time.Now(), false
	if !a.quiet && term.IsTerminal(int(a.stderr.Fd())) {
		o.Progress = func(done, total int64) {
			if time.Since(began) > 500*time.Millisecond && total > 0 {
				shown = true
				fmt.Fprintf(a.stderr, "\r%s\x1b[K", fit(fmt.Sprintf("deleting files: %d of %d", done, total), columns(a.stderr)-1))
			}
		}
	}
	got, err := store.Collect(ctx, o)
	if shown {
		fmt.Fprint(a.stderr, "\r\x1b[K")
	}
	if err != nil && ctx.Err() != nil {
		err = &interrupted{err, "the cache is whole, and what is not deleted yet goes with the next collection"}
	}
	return got, err
}

// collectedLine is what a collection did, in one line.
func collectedLine(got *cache.Collected, o cache.CollectOptions) string {
	verb, takes := "removed", "it takes"
	if o.DryRun {
		verb, takes = "would remove", "it would take"
	}
	if len(got.Removed) == 0 {
		return fmt.Sprintf("cache: nothing to remove; it takes %s", bytesText(got.Bytes))
	}
	count := map[string]int{}
	for _, i := range got.Removed {
		count[i.Kind]++
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(count)) {
		n, what := count[kind], kind
		switch kind {
		case cache.KindTemp:
			what = "leftover"
		case cache.KindScratch:
			what = "scratch folder"
		}
		if n != 1 {
			what += "s"
		}
		parts = append(parts, fmt.Sprintf("%d %s", n, what))
	}
	return fmt.Sprintf("cache: %s %s (%s); %s %s", verb, strings.Join(parts, ", "), bytesText(got.Freed), takes, bytesText(got.Bytes))
}

// collectAfter keeps the cache within its bounds after something was added to it, and says in one line what went. It does
// not wait for builders: the next one of them collects.
func (a *app) collectAfter(ctx context.Context, store *cache.Store) error {
	if store.ReadOnly() {
		return nil
	}
	b, err := a.bounds(store.Dir(), "", "")
	if err != nil {
		return err
	}
	o := cache.CollectOptions{MaxSize: b.size, MaxAge: b.age}
	if over, err := store.Over(o); err != nil || !over {
		a.log().Debug("cache within its bounds", "error", err)
		return nil
	}
	got, err := a.collect(ctx, store, o)
	switch {
	case ctx.Err() != nil:
		return err
	case errors.Is(err, cache.ErrBusy): // another one is at it
	case err != nil:
		a.warn("%v", err)
	default:
		if len(got.Removed) > 0 {
			a.say("%s", collectedLine(got, o))
		}
		if o.MaxSize > 0 && got.Bytes > o.MaxSize && got.Named > 0 {
			a.say("%s", "cache: "+overLine(got, o))
		}
	}
	return nil
}

// makeRoom collects once because the disk was full while something was made, and reports whether that gave room enough to
// try again.
func (a *app) makeRoom(ctx context.Context, store *cache.Store, err error) bool {
	var script *debootstrap.ConfigureError
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.As(err, &script) && script.Cause() == debootstrap.CauseFull
	if !full || ctx.Err() != nil || store.ReadOnly() {
		return false
	}
	o := cache.CollectOptions{Free: roomAtOnce}
	var short *cache.FullError
	if errors.As(err, &short) && short.Need > short.Free {
		o.Free = max(o.Free, short.Need-short.Free)
	}
	got, err := a.collect(ctx, store, o)
	if err != nil || got.Freed == 0 {
		a.log().Debug("no room could be made", "error", err)
		return false
	}
	a.say("the disk is full: %s; trying again", strings.TrimPrefix(collectedLine(got, o), "cache: "))
	return true
}

// roomAtOnce is what a full disk has a collection free at least, if there is as much.
const roomAtOnce = 1 << 30
