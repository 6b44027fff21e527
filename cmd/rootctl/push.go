package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/oci/registry"
	"github.com/rootctl/rootctl/internal/cache/pack"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

type pushFlags struct {
	remoteFlags
	caFile string
	json   bool
}

// registerAccess adds the flags that say how to reach a registry.
func (fl *remoteFlags) registerAccess(f *pflag.FlagSet, caFile *string) {
	fl.registerInsecure(f)
	f.StringVar(caFile, "ca-file", "", "also trust the certificate authorities of this PEM `file`")
}

func newPushCommand(a *app) *cobra.Command {
	var fl pushFlags
	c := &cobra.Command{
		Use:   "push [flags] NAME HOST[:PORT]/REPOSITORY[:TAG]",
		Short: "put a root into a registry, as an image",
		Long: "push puts the cached root NAME into a registry, as an OCI image that podman and skopeo use, too. Without a TAG it is\n" +
			"named after its key, which is where build and run look with --cache-from.",
		Example: "  rootctl push bionic registry.example.org/roots:bionic\n  rootctl push bionic registry.example.org/roots",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, names []string) error {
			if fl.json {
				a.quiet = true
			}
			return a.push(c.Context(), names[0], names[1], &fl)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	fl.registerAccess(f, &fl.caFile)
	f.BoolVar(&fl.json, "json", false, "print one JSON object")
	return c
}

// pushReport is push's --json object; its fields are an interface to scripts.
type pushReport struct {
	Name     string   `json:"name"`
	Digest   string   `json:"digest"`
	To       string   `json:"to"`
	Tags     []string `json:"tags"`
	Manifest string   `json:"manifest"`
	There    bool     `json:"there"`      // all of it was there already
	Sent     int64    `json:"bytes_sent"` // of blobs
	Seconds  float64  `json:"seconds"`
}

func (a *app) push(ctx context.Context, name, text string, fl *pushFlags) error {
	start := time.Now()
	to, err := registry.ParseRef(text)
	if err != nil {
		return &flagError{err}
	}
	a.caFile = fl.caFile
	repo, err := a.openRepository(to, fl.insecure)
	if err != nil {
		return err
	}
	store, err := a.existingStore()
	if err != nil {
		return err
	}
	if done, err := a.enter(); done || err != nil {
		return err
	}
	defer a.catchSignals()()
	ref, lease, err := a.leaseNamed(ctx, store, "push", name)
	if err != nil {
		return err
	}
	defer lease.Close()
	p := &pushing{app: a, store: store, repo: repo, lease: lease, ref: ref, tag: to.Name, keyed: to.Name == ""}
	if err := json.Unmarshal(ref.Info, &p.info); err != nil {
		return fmt.Errorf("push %s: read its record: %w", name, err)
	}
	a.warnUnverified(name, ref)
	rep, err := p.run(ctx)
	if err != nil {
		return fmt.Errorf("push %s: %w", name, err)
	}
	rep.Name, rep.Seconds = ref.Name, time.Since(start).Seconds()
	if fl.json {
		return a.printJSON(rep)
	}
	if rep.There {
		a.say("%s is in %s already", name, to)
	} else {
		a.say("pushed %s to %s: %s sent, %.1f s", name, to, bytesText(rep.Sent), rep.Seconds)
	}
	if to.Name != "" {
		a.say("next: rootctl pull %s", to)
	} else {
		a.say("next, elsewhere: rootctl build --cache-from %s %s", to, name)
	}
	return nil
}

// pushing is one root on its way into a registry.
type pushing struct {
	*app
	store *cache.Store
	repo  *registry.Repository
	lease *cache.Lease
	ref   cache.Ref
	info  debootstrap.Info
	tag   string // or
	keyed bool   // named after its key, and the selection that led to it goes along
}

func (p *pushing) run(ctx context.Context) (*pushReport, error) {
	tag := p.tag
	if p.keyed {
		if !p.info.HasLock() {
			return nil, withHint(errors.New("it was not built by rootctl, so that it has no key to be found by"), "give it a tag: %s:NAME", p.repo.Ref())
		}
		tag = oci.RootTag(string(p.ref.Key))
	}
	rep := &pushReport{Digest: "sha256:" + string(p.ref.Root), To: p.repo.Ref().String(), Tags: []string{tag}}
	there, err := p.repo.Has(ctx, tag)
	if err != nil && !errors.Is(err, registry.ErrNotFound) {
		return nil, err
	}
	if err == nil && p.keyed { // the first that was pushed stays
		rep.There, rep.Manifest = true, there
		return rep, p.pushClosure(ctx, rep)
	}
	image, layer, err := p.store.Image(ctx, p.lease, cache.ImageOptions{Pack: pack.Compress, Meta: imageMeta(p.lease.Tree, p.ref, p.info),
		Waiting: func() { p.say("waiting for another process, which packs this root") }})
	if err != nil {
		return nil, err
	}
	defer layer.Close()
	rep.Manifest = image.Manifest.Digest
	if there == rep.Manifest {
		rep.There = true
		return rep, nil
	}
	bar := p.startMeter("pushing", image.Layer.Size)
	defer bar.close()
	if p.keyed {
		if err := p.pushClosure(ctx, rep); err != nil {
			return nil, err
		}
	}
	documents, err := p.documents()
	if err != nil {
		return nil, err
	}
	rep.Sent, err = p.repo.Push(ctx, &registry.Upload{Manifest: image.Manifest, Text: image.Text, Tags: []string{tag}, Progress: bar, Referrers: documents, Refused: p.refused("documents about images: its list of packages and how it was made stay here"),
		Blobs: []registry.Content{{Descriptor: image.Layer, File: layer}, {Descriptor: image.Config, Data: image.ConfigText}}})
	return rep, err
}

// documents are the root's bill of materials and how it was made.
func (p *pushing) documents() ([]oci.Referrer, error) {
	list, err := p.sbomOf(p.store, p.ref)
	if err != nil {
		return nil, fmt.Errorf("list its packages: %w", err)
	}
	ref := p.ref
	ref.Name = cmp.Or(p.info.Suite, ref.Root.Short()) // whatever this machine calls it
	made, err := provenanceOf(p.store, ref)
	if err != nil {
		return nil, fmt.Errorf("say how it was made: %w", err)
	}
	return []oci.Referrer{{ArtifactType: oci.TypeSBOM, MediaType: oci.TypeSBOM, Data: list},
		{ArtifactType: oci.TypeProvenance, MediaType: oci.TypeProvenance, Data: made}}, nil
}

// pushClosure sends the selection of packages that led to the root, unless it is there.
func (p *pushing) pushClosure(ctx context.Context, rep *pushReport) error {
	key, text := debootstrap.Closure(p.store, p.ref.Key)
	if key == "" {
		return nil
	}
	tag := oci.ClosureTag(string(key))
	rep.Tags = append(rep.Tags, tag)
	_, err := p.repo.Has(ctx, tag)
	if err == nil || !errors.Is(err, registry.ErrNotFound) {
		return err
	}
	err = p.repo.PushArtifact(ctx, tag, oci.Referrer{ArtifactType: oci.TypeClosure, MediaType: oci.TypeClosure, Data: text,
		Annotations: map[string]string{oci.KeyKey: string(key), oci.SuiteKey: p.info.Suite, oci.VariantKey: p.info.Variant}})
	if registry.Refuses(err) {
		p.refused("what is no image: whoever takes the root from there reads the archive's index")(err)
		return nil
	}
	return err
}

// refused warns that a registry takes images alone.
func (p *pushing) refused(what string) func(error) {
	return func(err error) { p.warn("%v; it takes no %s", err, what) }
}
