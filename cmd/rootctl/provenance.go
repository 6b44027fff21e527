package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/sbom"
)

func newProvenanceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "provenance NAME",
		Short: "say how a root was made, of what, and who signed it, as an in-toto statement",
		Long: "provenance prints what the cache knows of how a root came to be as an unsigned in-toto statement with SLSA's\n" +
			"predicate: what was asked for, the keys, the Release files with dates and signers, mirrors, packages, exceptions,\n" +
			"times and rootctl's version.",
		Example: "  rootctl provenance bionic > bionic.intoto.json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			store, ref, err := a.find("provenance", names[0])
			if err != nil {
				return err
			}
			text, err := provenanceOf(store, ref)
			if err != nil {
				return fmt.Errorf("provenance %s: %w", names[0], err)
			}
			a.warnUnverified(names[0], ref)
			_, err = a.stdout.Write(text)
			return err
		},
	}
}

// facts are a JSON object of what there is to say.
type facts map[string]any

func (f facts) text(name, value string) {
	if value != "" {
		f[name] = value
	}
}

func (f facts) list(name string, values []string) {
	if len(values) > 0 {
		f[name] = values
	}
}

func (f facts) flag(name string, is bool) {
	if is {
		f[name] = true
	}
}

// provenanceOf is the statement about a root of the cache.
func provenanceOf(store *cache.Store, ref cache.Ref) ([]byte, error) {
	var info debootstrap.Info
	if err := json.Unmarshal(ref.Info, &info); err != nil {
		return nil, fmt.Errorf("read its record: %w", err)
	}
	asked, internal := facts{}, facts{}
	s := sbom.Provenance{Name: cmp.Or(ref.Name, info.Suite), Digest: string(ref.Root), How: "build", Asked: asked, Internal: internal, Finished: info.Built}
	switch {
	case info.Imported != nil:
		i := info.Imported
		s.How, s.Finished = "import", i.Time
		asked["from"], asked["format"] = i.From, i.Format
		internal.text("image", i.Image)
		internal.text("key_by_the_image", i.Key)
		internal["exceptions"] = []string{"imported: nobody's signature was checked"}
	case info.Committed != nil:
		i := info.Committed
		s.How, s.Finished = "commit", i.Time
		asked["container"] = i.Container
		s.Materials = []sbom.Material{{Name: cmp.Or(i.Name, "parent"), SHA256: string(i.Parent)}}
		internal["exceptions"] = []string{"committed: the container could change all of it"}
	default:
		p, err := debootstrap.ProvenanceOf(store, ref)
		if err != nil {
			return nil, err
		}
		describeBuild(&s, asked, internal, &info, p)
		internal.text("key", string(ref.Key))
	}
	return s.InToto()
}

func describeBuild(s *sbom.Provenance, asked, internal facts, i *debootstrap.Info, p *debootstrap.Provenance) {
	asked["suite"], asked["variant"], asked["arch"] = i.Suite, i.Variant, i.Arch
	var pockets []string
	for _, k := range i.Pockets {
		pockets = append(pockets, k.Name)
	}
	asked.list("pockets", pockets)
	asked.list("components", i.Components)
	asked.list("include", i.Include)
	asked.list("exclude", i.Exclude)
	asked.flag("lock_file", i.Locked)
	internal.text("resolve_key", string(p.Resolve))
	internal.text("extends", string(i.Extends))
	internal.text("pulled_from", i.Pulled)
	internal["epoch"] = i.Epoch
	internal.flag("unverified", i.Unverified)
	internal.list("exceptions", i.Exceptions)
	if w := p.Witness; w != nil {
		s.Version, s.Started, s.Finished = w.Version, w.Started, w.Finished
		internal.text("users", w.Users)
		internal.text("isolation", w.Isolation)
	}
	if i.Extends != "" {
		s.Materials = []sbom.Material{{Name: "root that it extends", SHA256: string(i.Extends)}}
	}
	s.Materials = append(s.Materials, materials(p.Lock)...)
}

// materials are the Releases, packages, files and scripts that a root was built from.
func materials(l *debootstrap.Lock) (list []sbom.Material) {
	mirrors := map[string]string{}
	for _, r := range l.Releases {
		mirrors[r.Pocket] = r.Mirror
		notes := facts{}
		notes.text("pocket", r.Pocket)
		notes.text("origin", r.Origin)
		if !r.Date.IsZero() {
			notes["date"] = r.Date.UTC().Format(time.RFC3339)
		}
		notes.list("signed_by", r.Signers)
		notes.flag("unverified", r.Unverified)
		notes.flag("keys_expired", r.KeysExpired)
		notes.list("exceptions", r.Exceptions)
		m := sbom.Material{Name: "Release of " + r.Suite, SHA256: string(r.Digest), Annotations: notes}
		if r.Mirror != "" {
			m.URI = strings.TrimRight(r.Mirror, "/") + "/dists/" + r.Suite + "/"
		}
		list = append(list, m)
	}
	for i := range l.Packages {
		p := &l.Packages[i]
		m := sbom.Material{Name: p.Name + " " + p.Version + " " + p.Arch, SHA256: string(p.SHA256)}
		if base := mirrors[p.Pocket]; base != "" {
			m.URI = strings.TrimRight(base, "/") + "/" + p.Path
		}
		list = append(list, m)
	}
	for _, f := range l.Files {
		list = append(list, sbom.Material{Name: "file " + f.Path, SHA256: string(cache.Sum([]byte(f.Content)))})
	}
	return append(list, recipeMaterials(l)...)
}

// recipeMaterials are the files and scripts of a recipe, those of the roots that are extended first.
func recipeMaterials(l *debootstrap.Lock) (list []sbom.Material) {
	if l.Parent != nil {
		list = recipeMaterials(l.Parent)
	}
	for _, f := range l.Added {
		list = append(list, sbom.Material{Name: "file " + f.Path, SHA256: string(cache.Sum(f.Content))})
	}
	for _, h := range l.Hooks { // its environment may hold a secret, and stays out
		list = append(list, sbom.Material{Name: h.When + " hook " + h.Name, SHA256: string(cache.Sum(h.Script)), Annotations: map[string]any{"network": h.Network}})
	}
	return list
}

// witness is what this build says of itself.
func (a *app) witness(scripts *executor) debootstrap.Witness {
	w := debootstrap.Witness{Version: version(), Users: "root", Isolation: "own"}
	switch {
	case a.inside.single():
		w.Users = "single"
	case a.inside != nil:
		w.Users = "range"
	}
	switch {
	case scripts.chroot:
		w.Isolation = "chroot"
	case scripts.hostUsers:
		w.Isolation = "host"
	}
	return w
}
