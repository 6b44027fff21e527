package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/suites"
)

func newCacheKeyCommand(a *app) *cobra.Command {
	var sel selection
	var asJSON, byRelease bool
	c := &cobra.Command{
		Use:   "key [flags] [SUITE[-VARIANT][:ARCH]...] | --lock FILE [NAME...]",
		Short: "print the keys under which a build looks its results up",
		Long: "key prints the keys of a build with the same flags: of the request, of the selection of packages (K1)\n" +
			"and of the root (K2). It asks the archive what a build would ask, and builds nothing.\n" +
			"Without a name it is the roots of rootctl.toml.",
		Example: "  rootctl cache key bionic\n  rootctl cache key bionic --include curl --json\n  rootctl cache key --offline bionic noble\n  rootctl cache key --by-release --json bionic",
		Args:    args(sel.namesArgs),
		RunE: func(c *cobra.Command, names []string) error {
			if asJSON {
				a.quiet = true
			}
			if sel.lockFile != "" {
				return a.lockedKeys(&sel, names, asJSON)
			}
			if byRelease && sel.offline {
				return withHint(&flagError{errors.New("--by-release asks the archive, and --offline forbids it")}, "drop one of the two")
			}
			names, err := sel.orRecipe(names)
			if err != nil {
				return err
			}
			all, err := askEach(names, func(name string) (*debootstrap.Keys, error) {
				var keys *debootstrap.Keys
				err := a.asked(c.Context(), &sel, name, func(ctx context.Context, b *debootstrap.Builder, req debootstrap.Request) (err error) {
					if byRelease {
						keys, err = b.ReleaseKeys(ctx, req)
					} else {
						keys, err = b.Keys(ctx, req)
					}
					return err
				})
				if err != nil {
					return nil, fmt.Errorf("cache key %s: %w", name, err)
				}
				return keys, nil
			})
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(newKeyReport(keyInputs(names, all)))
			}
			return a.printKeys(names, all)
		},
	}
	c.Flags().SortFlags = false
	sel.register(c.Flags())
	sel.registerLock(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object: a key for a CI system's cache of all these roots, restore-keys, and what they are made of")
	c.Flags().BoolVar(&byRelease, "by-release", false, "read no package index: a key of what the archive's Release files say, which changes with every change of the index")
	return c
}

func (a *app) printKeys(names []string, all []*debootstrap.Keys) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for i, keys := range all {
		if len(all) > 1 {
			fmt.Fprintf(w, "%s\t\n", printable(names[i]))
		}
		if keys.Request.Key != "" { // a lock file has no request
			fmt.Fprintf(w, "request\t%s\nresolve (K1)\t%s\n", keys.Request.Key, keys.Resolve.Key)
		}
		if keys.Rules != nil {
			fmt.Fprintf(w, "rules\t%s\n", keys.Rules.Key)
		} else {
			fmt.Fprintf(w, "root (K2)\t%s\n", keys.Root.Key)
		}
	}
	return w.Flush()
}

// askEach asks for one name after the other, and ends with the first error.
func askEach[T any](names []string, ask func(name string) (T, error)) ([]T, error) {
	var all []T
	for _, name := range names {
		v, err := ask(name)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// oneOrList is what --json prints of them: whoever asks for one thing gets one object.
func oneOrList[T any](all []T) any {
	if len(all) == 1 {
		return all[0]
	}
	return all
}

// tagNamed answers a name that no suite has and a root of the cache does.
func (a *app) tagNamed(name string, err error) error {
	var unknown *suites.UnknownSuite
	if !errors.As(err, &unknown) {
		return err
	}
	store, e := a.openStore()
	if e != nil {
		return err
	}
	ref, e := store.Ref(name)
	var info debootstrap.Info
	if e != nil || json.Unmarshal(ref.Info, &info) != nil {
		return err
	}
	of := "root " + ref.Root.Short()
	if info.Suite != "" {
		of += ", a " + info.Suite
	}
	return withHint(&notFound{fmt.Errorf("%s is a tag of %s, and a suite is wanted here", name, of)},
		"name the suite, with the flags that the root was built with: rootctl show %s", name)
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
		return a.tagNamed(name, wrong)
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
