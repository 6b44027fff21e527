package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
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
		Long: "bundle writes the roots of a lock file, which rootctl ensure --lock makes, the packages that they are made of and the\n" +
			"signed indices that these were chosen by into one file; what the cache has not of these it fetches. There, rootctl\n" +
			"cache restore BUNDLE takes it in, and rootctl build --lock FILE --offline and lock --check --offline ask nobody.",
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
		err := s.packages(ctx, r)
		if err == nil {
			err = s.indices(ctx, r)
		}
		if err != nil {
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
		s.download(p.SHA256, p.Size)
	}
	return nil
}

// indices takes along the signed indices that a root's packages were chosen by: what the cache has not it asks the archive
// for, which may have moved on. They are what lock --check and other roots are answered by where there is no network.
func (s *saving) indices(ctx context.Context, r lockedRoot) error {
	b, done, err := s.builder()
	if err != nil {
		return err
	}
	defer done()
	records, files, lacks := b.CarryReleases(r.lock, r.req)
	if len(lacks) > 0 && !r.lock.Unverified() && r.req.At.IsZero() && !s.store.ReadOnly() {
		own := r.req
		own.Added = debootstrap.Additions{}
		if err := b.FetchReleases(ctx, own); err != nil {
			s.log().Debug("read the archive's indices", "root", r.name, "error", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		records, files, lacks = b.CarryReleases(r.lock, r.req)
	}
	for _, l := range lacks {
		s.say("note: a signed index of %s is not in it: %s", r.name, oneLine(l.Error()))
	}
	for _, rec := range records {
		if !slices.ContainsFunc(s.index.Records, func(have parcel.Record) bool { return have.Folder == rec.Folder && have.Name == rec.Name }) {
			s.index.Records = append(s.index.Records, rec)
		}
	}
	for _, f := range files {
		s.download(f.SHA256, f.Size)
	}
	return nil
}

// download takes a file of an archive along, once.
func (s *saving) download(sum cache.Digest, size int64) {
	if s.open[sum] != nil {
		return
	}
	s.index.Downloads = append(s.index.Downloads, parcel.Download{SHA256: sum, Size: size})
	s.open[sum] = func() (io.ReadCloser, error) { return s.store.OpenDownload(sum) }
}

// builder can ask the archive and builds nothing; done ends its display of progress.
func (s *saving) builder() (b *debootstrap.Builder, done func(), err error) {
	set, err := s.suites()
	if err != nil {
		return nil, nil, err
	}
	client, err := s.client()
	if err != nil {
		return nil, nil, err
	}
	p := s.startProgress()
	return &debootstrap.Builder{Store: s.store, Client: client, Suites: set, Now: s.now, Log: s.log(), Progress: p.report}, p.close, nil
}

func (s *saving) fetch(ctx context.Context, r lockedRoot) error {
	b, done, err := s.builder()
	if err != nil {
		return err
	}
	defer done()
	return b.FetchLocked(ctx, r.lock, r.req)
}
