package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/suites"
)

// eachFlags are the flags of each beside those of run.
type eachFlags struct {
	jobs       int
	junit      string
	json       bool
	onlyEnsure bool // what each asks of a process of its own for one root
}

func newEachCommand(a *app) *cobra.Command {
	var sel selection
	var fl runFlags
	var each eachFlags
	c := &cobra.Command{
		Use:   "each [flags] NAME[,NAME...]... -- COMMAND [ARG...]",
		Short: "run a command in a fresh copy of each of several roots",
		Long: "each runs one command in a fresh copy of every root named, several beside each other. Roots that are not in the\n" +
			"cache are built first. Each line of output has the root's name before it; a table says at the end how the\n" +
			"commands ended. The exit code is the highest of theirs, 125 for a root that could not be made. Flags are run's.",
		Example: "  rootctl each bionic-buildd,noble-buildd --here -- make check\n  rootctl each bionic bookworm --jobs 1 --junit report.xml --here -- ./test.sh",
		RunE: func(c *cobra.Command, given []string) error {
			a.verbIsRun = true
			names, argv, err := eachNames(c, given)
			if err != nil {
				return err
			}
			if each.onlyEnsure {
				a.verbIsRun = false // so that a failure is told as JSON
				return a.ensureForEach(c.Context(), &sel, names[0], fl.noBuild)
			}
			return a.runEach(c, &sel, &fl, &each, names, argv)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.IntVar(&each.jobs, "jobs", 0, "run `N` commands at a time (default the number of processors)")
	f.StringVar(&each.junit, "junit", "", "write a report as JUnit XML to a `file`, with the end of each output")
	f.BoolVar(&each.json, "json", false, "print a list of results as JSON on stdout, and the commands' output on stderr")
	f.BoolVar(&each.onlyEnsure, "only-ensure", false, "")
	f.Lookup("only-ensure").Hidden = true
	registerRunsFor(f, &fl, &sel)
	return c
}

// registerRunsFor adds the flags of run that mean something for several at once.
func registerRunsFor(f *pflag.FlagSet, fl *runFlags, sel *selection) {
	run := pflag.NewFlagSet("run", pflag.ContinueOnError)
	run.SortFlags = false
	fl.register(run, sel)
	run.VisitAll(func(flag *pflag.Flag) {
		switch flag.Name {
		case "detach", "name", "keep", "rm", "tty", "json", "print-plan":
			return // of one container, or of a terminal
		}
		f.AddFlag(flag)
	})
}

// eachNames splits the words before and behind "--": names, by words and by commas, and a command.
func eachNames(c *cobra.Command, given []string) (names, argv []string, _ error) {
	bad := func(format string, args ...any) ([]string, []string, error) {
		return nil, nil, withHint(&flagError{fmt.Errorf("each: "+format, args...)}, "rootctl each bionic,noble --here -- make check")
	}
	dash := c.ArgsLenAtDash()
	if dash < 0 {
		dash = len(given)
	}
	for _, word := range given[:dash] {
		for name := range strings.SplitSeq(word, ",") {
			if name == "" {
				return bad("an empty name in %q", word)
			}
			if slices.Contains(names, name) {
				return bad("%s is named twice", name)
			}
			names = append(names, name)
		}
	}
	argv = given[dash:]
	switch only, _ := c.Flags().GetBool("only-ensure"); {
	case len(names) == 0:
		return bad("NAME is missing")
	case len(argv) == 0 && !only:
		return bad("no command stands behind --")
	}
	return names, argv, nil
}

// runEach ensures and runs, reports, and sets the exit code.
func (a *app) runEach(c *cobra.Command, sel *selection, fl *runFlags, opt *eachFlags, names, argv []string) error {
	if _, err := a.spec(fl, argv); err != nil { // said once, and not by each
		return err
	}
	if err := fl.stateFlags.check(fl.inMemory()); err != nil {
		return err
	}
	if opt.jobs < 0 {
		return withHint(&flagError{fmt.Errorf("--jobs %d is negative", opt.jobs)}, "--jobs 2")
	}
	if opt.jobs == 0 {
		opt.jobs = runtime.GOMAXPROCS(0)
	}
	if err := a.judgeNames(sel, names); err != nil {
		return err
	}
	report, err := a.createJUnit(c.Context(), opt.junit)
	if err != nil {
		return err
	}
	defer report.close()
	e := newEach(a, opt, names)
	e.selecting, e.running = passedOn(c.Flags())
	for i, name := range names {
		if e.results[i].net, err = sel.netOfRecipe(a, name, c.Flags().Changed("net")); err != nil {
			return err
		}
	}
	e.all(names, argv)
	if err := report.write(e.results, argv); err != nil {
		return err
	}
	if err := e.print(opt.json); err != nil {
		return err
	}
	a.exit = e.worst()
	return nil
}

// judgeNames refuses, before anything runs, what is neither in the cache nor can be built. It asks nobody.
func (a *app) judgeNames(sel *selection, names []string) error {
	if sel.lockFile != "" {
		_, err := sel.lockedRoots(a, names)
		return err
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	set, err := a.suites()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := a.judgeName(store, set, sel, name); err != nil {
			return fmt.Errorf("each %s: %w", name, err)
		}
	}
	return nil
}

func (a *app) judgeName(store *cache.Store, set *suites.Set, sel *selection, name string) error {
	of, err := sel.recipeRoot(a, name)
	if err != nil {
		return err
	}
	if of == nil && !sel.given() {
		if _, err = a.cached(store, name); err == nil {
			return nil
		}
	}
	_, wrong := sel.request(a, set, name)
	if wrong == nil || sel.asksFor(wrong) {
		return nil
	}
	if gone := (*goneRoot)(nil); errors.As(err, &gone) || err != nil && !errors.Is(err, cache.ErrNotFound) {
		return err
	}
	return fileNamed(name, wrong)
}

// passedOn gives the command line's flags again, for processes of one root: those that select it, and those of its run.
func passedOn(given *pflag.FlagSet) (selecting, running []string) {
	var sel selection
	selects := pflag.NewFlagSet("", pflag.ContinueOnError)
	sel.register(selects)
	sel.registerLock(selects)
	sel.registerRemote(selects)
	given.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "jobs", "junit", "json":
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			word := "--" + f.Name + "=" + v
			switch f.Name {
			case "ca-file": // for downloads, and to be known inside
				running = append(running, word)
			case "no-build":
				selecting = append(selecting, word)
			}
			if selects.Lookup(f.Name) != nil {
				selecting = append(selecting, word)
			} else {
				running = append(running, word)
			}
		}
	})
	return selecting, running
}

// ensureForEach makes sure that a root is in the cache, and prints which and how. As in run, no mirror is asked for a cached one.
func (a *app) ensureForEach(ctx context.Context, sel *selection, name string, noBuild bool) error {
	store, err := a.openStore()
	if err != nil {
		return err
	}
	if done, err := a.enterToMount(); done || err != nil {
		return err
	}
	lease, _, err := a.rootFor(ctx, store, sel, name, true)
	if err == nil {
		defer lease.Close()
		return a.printJSON(ensured{Name: name, How: howCached, Digest: "sha256:" + string(lease.Root)})
	}
	if missing := (*notFound)(nil); noBuild || !errors.As(err, &missing) {
		return err
	}
	all, err := a.wanted(ctx, store, sel, []string{name})
	if err != nil {
		return err
	}
	e, err := a.ensureOne(ctx, store, all[0], 0, false)
	if err != nil {
		return err
	}
	return a.printJSON(e)
}
