package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache/parcel"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

func newBundleCommand(a *app) *cobra.Command {
	var sel selection
	var output string
	var asJSON bool
	c := &cobra.Command{
		Use:   "bundle --lock FILE -o BUNDLE [NAME...]",
		Short: "write a lock file's roots and packages into one file, for machines without a network",
		Long: "bundle writes the roots of a lock file, which rootctl ensure --lock makes, and the packages that they are made of\n" +
			"into one file; what the cache has not of these it fetches. There, rootctl cache restore BUNDLE takes it in, and\n" +
			"rootctl build --lock FILE --offline asks nobody.",
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
	f.StringArrayVar(&sel.mirrors, "mirror", nil, "`[POCKET=]URL` to fetch missing packages from, before others")
	f.BoolVar(&sel.onlyMirror, "only-mirror", false, "ask no other mirror than those of --mirror")
	f.StringVar(&sel.caFile, "ca-file", "", "also trust the certificate authorities of this PEM `file` for https")
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
	lock, err := store.LockStore(ctx) // what is fetched is not collected
	if err != nil {
		return err
	}
	defer lock.Close()
	for _, r := range roots {
		if err := s.packages(ctx, r); err != nil {
			return fmt.Errorf("bundle %s: %w", r.name, err)
		}
	}
	rep, err := s.write(ctx)
	if err != nil {
		return fmt.Errorf("bundle: %w", err)
	}
	return a.reportSaved(rep, "restore", asJSON)
}

// packages takes those of a root along. What is not in the cache is fetched.
func (s *saving) packages(ctx context.Context, r lockedRoot) error {
	lacks := func(p debootstrap.LockPackage) bool { return !s.store.HasDownload(p.SHA256, p.Size) }
	if slices.ContainsFunc(r.lock.Packages, lacks) && !s.store.ReadOnly() {
		if err := s.fetch(ctx, r); err != nil {
			return err
		}
	}
	for _, p := range r.lock.Packages {
		if s.open[p.SHA256] != nil {
			continue
		}
		if lacks(p) {
			return withHint(&notFound{fmt.Errorf("package %s %s is not in the cache", p.Name, p.Version)}, "rootctl build of this root fetches it")
		}
		s.index.Downloads = append(s.index.Downloads, parcel.Download{SHA256: p.SHA256, Size: p.Size})
		s.open[p.SHA256] = func() (io.ReadCloser, error) { return s.store.OpenDownload(p.SHA256) }
	}
	return nil
}

func (s *saving) fetch(ctx context.Context, r lockedRoot) error {
	set, err := s.suites()
	if err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	p := s.startProgress()
	defer p.close()
	b := debootstrap.Builder{Store: s.store, Client: client, Suites: set, Now: s.now, Log: s.log(), Progress: p.report}
	return b.FetchLocked(ctx, r.lock, r.req)
}
