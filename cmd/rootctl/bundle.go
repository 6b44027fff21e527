package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
)

func newBundleCommand(a *app) *cobra.Command {
	var sel selection
	var output string
	var asJSON bool
	c := &cobra.Command{
		Use:   "bundle --lock FILE -o BUNDLE [NAME...]",
		Short: "write a lock file's roots and packages into one file, for machines without a network",
		Long: "bundle writes the roots of a lock file, which rootctl ensure --lock makes, and the packages that they are made of\n" +
			"into one file. There, rootctl cache restore BUNDLE takes it in, and rootctl build --lock FILE --offline asks nobody.",
		Example: "  rootctl bundle --lock rootctl.lock -o roots.bundle\n  rootctl cache restore roots.bundle && rootctl build --lock rootctl.lock --offline",
		RunE: func(c *cobra.Command, names []string) error {
			a.quiet = a.quiet || asJSON
			if sel.lockFile == "" || output == "" || output == "-" && asJSON {
				return withHint(&flagError{errors.New("bundle wants --lock FILE and -o BUNDLE")}, "usage: %s", c.UseLine())
			}
			return a.bundle(c.Context(), &sel, output, names, asJSON)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&sel.lockFile, "lock", "", "the roots of this lock `file`, or those of them that are named")
	f.StringVarP(&output, "output", "o", "", "write this `file`; - is standard output")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

func (a *app) bundle(ctx context.Context, sel *selection, output string, names []string, asJSON bool) error {
	store, err := a.existingStore()
	if err != nil {
		return err
	}
	if done, err := a.enter(); done || err != nil {
		return err
	}
	defer a.catchSignals()()
	s := a.newSaving(store, output)
	defer s.close()
	if err := s.choose(ctx, sel, names); err != nil {
		return err
	}
	roots, err := sel.lockedRoots(a, names)
	if err != nil {
		return err
	}
	for _, r := range roots {
		for _, p := range r.lock.Packages {
			if s.open[p.SHA256] != nil {
				continue
			}
			if !store.HasDownload(p.SHA256, p.Size) {
				return withHint(&notFound{fmt.Errorf("bundle %s: package %s %s is not in the cache", r.name, p.Name, p.Version)},
					"rootctl build --check --lock %s fetches them", shellWord(sel.lockFile))
			}
			s.index.Downloads = append(s.index.Downloads, parcel.Download{SHA256: p.SHA256, Size: p.Size})
			s.open[p.SHA256] = func() (io.ReadCloser, error) { return store.OpenDownload(cache.Digest(p.SHA256)) }
		}
	}
	rep, err := s.write(ctx)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return a.reportSaved(rep, "restore", asJSON)
}
