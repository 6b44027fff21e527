package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/oci/registry"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

type pullFlags struct {
	remoteFlags
	tag    string
	caFile string
	json   bool
}

func newPullCommand(a *app) *cobra.Command {
	var fl pullFlags
	c := &cobra.Command{
		Use:   "pull [flags] HOST[:PORT]/REPOSITORY:TAG",
		Short: "take a root from a registry",
		Long: "pull takes the root that push, or build with --cache-to, left in a registry. It is unpacked while it arrives, and every\n" +
			"digest is compared. Whoever can write there stands behind it, and nobody's signature: ls and show say so. What broke off goes\n" +
			"on where it stopped. Logins are docker's: ~/.docker/config.json and its helpers.",
		Example: "  rootctl pull registry.example.org/roots:bionic --tag ci",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if fl.json {
				a.quiet = true
			}
			return a.pull(c.Context(), names[0], &fl)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&fl.tag, "tag", "", "`name` for the root; without one only its digest is printed")
	fl.registerAccess(f, &fl.caFile)
	f.BoolVar(&fl.json, "json", false, "print one JSON object")
	return c
}

// pullReport is pull's --json object; its fields are an interface to scripts.
type pullReport struct {
	Name    string  `json:"name"`
	Digest  string  `json:"digest"`
	Cached  bool    `json:"cached"` // the root was there already
	From    string  `json:"from"`
	Image   string  `json:"image"` // digest of its manifest
	Key     string  `json:"key,omitempty"`
	Suite   string  `json:"suite"`
	Variant string  `json:"variant"`
	Arch    string  `json:"arch"`
	Entries int     `json:"entries"`
	TarSize int64   `json:"tar_size"`
	Bytes   int64   `json:"bytes"`   // of the layer
	Resumed int64   `json:"resumed"` // of these, what an earlier pull had brought
	Seconds float64 `json:"seconds"`
}

func (a *app) pull(ctx context.Context, text string, fl *pullFlags) error {
	start := time.Now()
	if fl.tag != "" {
		if err := a.checkTag(fl.tag); err != nil {
			return err
		}
	}
	ref, err := registry.ParseRef(text)
	if err != nil {
		return &flagError{err}
	}
	if ref.Name == "" {
		return withHint(&flagError{fmt.Errorf("pull %s: which of its images?", ref)}, "add a tag, %s:NAME; or have a build look there: --cache-from %s", ref, ref)
	}
	a.caFile = fl.caFile
	repo, err := a.openRepository(ref, fl.insecure)
	if err != nil {
		return err
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	if done, err := a.enter(); done || err != nil {
		return err
	}
	defer a.catchSignals()()
	d, m, err := repo.Manifest(ctx, ref.Name)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	p := &pulling{app: a, store: store, repo: repo, image: m}
	bar := a.startMeter("pulling", p.size())
	defer bar.close()
	p.progress = bar.done.Store
	var info debootstrap.Info
	p.look = func(tree string, m *cache.Manifest) error {
		im := importing{app: a, from: "-", arch: p.arch, format: "oci", info: p.told(d)}
		err := im.describe(tree, m)
		info = im.info
		info.Imported.From = ref.String()
		return err
	}
	made, lease, err := p.run(ctx, func(root cache.Digest) (cache.Ref, error) { return debootstrap.RememberImport(store, root, info) })
	bar.close()
	if err != nil {
		return err
	}
	defer lease.Close()
	return a.endPull(ctx, p, made, info, d, fl, start)
}

// told is what an image says of its root.
func (p *pulling) told(d oci.Descriptor) debootstrap.Info {
	notes := p.image.Annotations
	return debootstrap.Info{Arch: p.arch, Suite: oneWord(notes[oci.SuiteKey]), Variant: oneWord(notes[oci.VariantKey]),
		Imported: &debootstrap.InfoImport{Image: d.Digest, Key: oneWord(notes[oci.KeyKey])}}
}

// endPull names the root and says what came.
func (a *app) endPull(ctx context.Context, p *pulling, ref cache.Ref, i debootstrap.Info, d oci.Descriptor, fl *pullFlags, start time.Time) error {
	if fl.tag != "" {
		if err := a.setName(p.store, ref, fl.tag); err != nil {
			return fmt.Errorf("pull: name %s: %w", fl.tag, err)
		}
		ref.Name = fl.tag
	}
	if !p.cached {
		if err := a.collectAfter(ctx, p.store); err != nil {
			return err
		}
	}
	took := time.Since(start).Seconds()
	if fl.json {
		return a.printJSON(pullReport{Name: ref.Name, Digest: "sha256:" + string(ref.Root), Cached: p.cached, From: i.Imported.From, Image: d.Digest,
			Key: i.Imported.Key, Suite: i.Suite, Variant: i.Variant, Arch: i.Arch, Entries: p.entries, TarSize: i.TarSize, Bytes: p.size(), Resumed: p.resumed, Seconds: took})
	}
	name := ref.Name
	if name == "" {
		name = ref.Root.Short()
		fmt.Fprintln(a.stdout, ref.Root)
	}
	what := "ready"
	if p.cached {
		what = "in the cache already"
	}
	a.say("%s is %s: %d entries, %s, %.1f s", name, what, p.entries, bytesText(i.TarSize), took)
	if p.resumed > 0 {
		a.say("%s of %s had come before", bytesText(p.resumed), bytesText(p.size()))
	}
	a.say("next: %s run %s", a.typed(), name)
	return nil
}
