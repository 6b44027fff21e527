package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/lockfile"
)

// ensureAtOnce is how many roots are made beside each other: more of them wait for the same processors and mirrors.
const ensureAtOnce = 4

// ensureFlags are those of ensure beside the selecting ones.
type ensureFlags struct {
	locked bool
	maxAge string
	json   bool
}

func newEnsureCommand(a *app) *cobra.Command {
	var sel selection
	var fl ensureFlags
	c := &cobra.Command{
		Use:   "ensure [flags] [NAME...] | --locked [NAME...]",
		Short: "have roots in the cache: kept, fetched or built, whatever is quickest",
		Long: "ensure has each root in the cache: as it is there, else from a registry of --cache-from, else built, several beside each other. It says how\n" +
			"it got each, and why. --max-age takes a cached root that was held against the archive within that time without asking\n" +
			"anybody; --locked takes what the lock file says, and nothing else. Without a name it is the roots of rootctl.toml.",
		Example: "  rootctl ensure bionic trixie-buildd\n  rootctl ensure --max-age 24h bionic\n  rootctl ensure --locked\n  rootctl ensure --json bionic noble",
		Args:    args(func(c *cobra.Command, names []string) error { return fl.args(&sel, c, names) }),
		RunE: func(c *cobra.Command, names []string) error {
			if fl.json {
				a.quiet = true
			}
			return a.ensureVerb(c.Context(), &sel, &fl, names)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	sel.register(f)
	f.BoolVar(&fl.locked, "locked", false, "make exactly what "+lockfile.DefaultName+" says, or the file of --lock; a root that it has not is an error")
	f.StringVar(&sel.lockFile, "lock", "", "the lock `file` of --locked, which this implies")
	f.StringVar(&fl.maxAge, "max-age", "", "take a cached root without asking the archive if it was asked within this `AGE`: 24h, 7d")
	sel.registerRemote(f)
	f.BoolVar(&fl.json, "json", false, "print a list of objects, one for each root")
	return c
}

func (fl *ensureFlags) args(sel *selection, c *cobra.Command, names []string) error {
	if fl.locked && sel.lockFile == "" {
		sel.lockFile = lockfile.DefaultName
	}
	return sel.namesArgs(c, names)
}

// ensured is what ensure tells of one root; its fields are an interface to scripts.
type ensured struct {
	Name   string       `json:"name"`
	How    how          `json:"how"`
	Why    string       `json:"why"`
	Digest string       `json:"digest"`
	Key    cache.Digest `json:"key"`
	MS     int64        `json:"ms"`
}

// wanted is one root that is to be there.
type wanted struct {
	name string // as it was asked for
	req  debootstrap.Request
	lock *debootstrap.Lock // nil: what the archive has

	remote *remoteFlags
}

func (a *app) ensureVerb(ctx context.Context, sel *selection, fl *ensureFlags, names []string) error {
	age, err := parseAge(fl.maxAge)
	if fl.maxAge != "" && (err != nil || age <= 0) {
		return badSetting("--max-age", fl.maxAge, err, "an age is like 24h, 90m or 7d")
	}
	if fl.maxAge != "" && (sel.fresh || sel.lockFile != "") {
		return withHint(&flagError{errors.New("--max-age goes with neither --fresh nor a lock file")}, "drop one of the two")
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	var done bool
	if done, a.enterErr = a.enterToMount(); done {
		return nil
	}
	defer a.catchSignals()()
	all, err := a.wanted(ctx, store, sel, names)
	if err != nil {
		return err
	}
	list := []any{}
	failed := a.ensureAll(ctx, store, all, age, func(w wanted, e *ensured, err error) {
		switch {
		case err != nil && fl.json:
			f := a.tell(ctx, err)
			f.Name = w.name
			list = append(list, f)
		case err != nil:
			_ = a.tell(ctx, err)
		case fl.json:
			list = append(list, e)
		default:
			fmt.Fprintf(a.stdout, "%s  %s  %s  %s  %.1f s\n", e.Name, e.How, cache.Digest(e.Digest[len("sha256:"):]).Short(), e.Why, float64(e.MS)/1000)
		}
	})
	if fl.json {
		if err := a.printJSON(list); err != nil {
			return err
		}
	}
	if failed != nil {
		code := a.codeFor(failed)
		if ctx.Err() != nil {
			code = codeInterrupted
		}
		return &exitCode{code}
	}
	return nil
}

// wanted turns names into requests, one after the other: a role is asked for at the archive.
func (a *app) wanted(ctx context.Context, store *cache.Store, sel *selection, names []string) ([]wanted, error) {
	if sel.lockFile != "" {
		roots, err := sel.lockedRoots(a, names)
		if err == nil {
			err = sel.fill(roots)
		}
		var all []wanted
		for _, r := range roots {
			all = append(all, wanted{r.name, r.req, r.lock, &sel.remoteFlags})
		}
		return all, err
	}
	names, err := sel.orRecipe(names)
	if err != nil {
		return nil, err
	}
	set, err := a.suites()
	if err != nil {
		return nil, err
	}
	return askEach(names, func(name string) (wanted, error) {
		req, wrong := sel.request(a, set, name)
		if wrong != nil && !sel.asksFor(wrong) {
			return wanted{}, fileNamed(name, wrong)
		}
		req, err := a.settle(ctx, store, sel, set, name, req, wrong)
		return wanted{name: name, req: req, remote: &sel.remoteFlags}, err
	})
}

// ensureAll has all roots in the cache, some beside each other, and tells of each in the order in which they were asked
// for. The error is that of the first that is not there.
func (a *app) ensureAll(ctx context.Context, store *cache.Store, all []wanted, age time.Duration, tell func(wanted, *ensured, error)) error {
	type outcome struct {
		e   *ensured
		err error
	}
	outcomes := make([]chan outcome, len(all))
	var g errgroup.Group
	g.SetLimit(ensureAtOnce)
	for i := range all {
		outcomes[i] = make(chan outcome, 1)
	}
	go func() {
		for i := range all {
			g.Go(func() error {
				e, err := a.ensureOne(ctx, store, all[i], age, len(all) > 1)
				outcomes[i] <- outcome{e, err}
				return nil
			})
		}
	}()
	var first error
	for i, w := range all {
		o := <-outcomes[i]
		if o.err != nil && first == nil {
			first = o.err
		}
		tell(w, o.e, o.err)
	}
	return first
}

// ensureOne has one root in the cache. Beside others it paints no progress.
func (a *app) ensureOne(ctx context.Context, store *cache.Store, w wanted, age time.Duration, beside bool) (*ensured, error) {
	start := time.Now()
	was := beforeBuild(store, w.req, w.lock)
	if e := a.recent(ctx, store, w, was, age); e != nil {
		e.MS = time.Since(start).Milliseconds()
		return e, nil
	}
	o := buildOptions{lock: w.lock, caught: true, remote: w.remote}
	if beside {
		o.beside = w.name
	}
	b, err := a.build(ctx, store, w.req, o)
	if err != nil {
		return nil, err
	}
	defer b.Lease.Close()
	if w.lock == nil && b.Unchecked == nil {
		if err := debootstrap.RememberCheck(store, w.req, b.Root, a.now()); err != nil {
			a.log().Debug("record the check", "error", err)
		}
	}
	return &ensured{Name: w.name, How: b.how(), Why: b.since(was), Digest: "sha256:" + string(b.Root), Key: b.Key, MS: time.Since(start).Milliseconds()}, nil
}

// recent is a root that was held against the archive within that age and can be used; nil if there is none.
func (a *app) recent(ctx context.Context, store *cache.Store, w wanted, was before, age time.Duration) *ensured {
	if age <= 0 || !was.there || w.lock != nil {
		return nil
	}
	checked, ok := debootstrap.LastCheck(store, w.req, was.root)
	since := a.now().Sub(checked)
	if !ok || since < 0 || since > age {
		return nil
	}
	lease, err := store.Lease(ctx, was.root)
	if err != nil {
		return nil
	}
	defer lease.Close()
	if _, err := lease.Manifest(); err != nil {
		return nil
	}
	if err := a.fitOwners(lease); err != nil {
		return nil
	}
	if w.req.Plain() || w.req.Tag != "" {
		ref, err := debootstrap.LastBuilt(store, w.req)
		if err != nil || a.checkTagOf(w.req) != nil || a.setName(store, ref, w.req.Name(hostArch())) != nil && !store.ReadOnly() {
			return nil
		}
	}
	return &ensured{Name: w.name, How: howCached, Why: fmt.Sprintf("held against the archive %s ago", ageText(since)), Digest: "sha256:" + string(was.root), Key: was.key}
}

// checkTagOf judges a recipe's name for its root.
func (a *app) checkTagOf(req debootstrap.Request) error {
	if req.Tag == "" {
		return nil
	}
	return a.checkTag(req.Tag)
}

// ageText is a duration for people.
func ageText(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
