package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
	"github.com/rootctl/rootctl/internal/sbom"
)

const cycloneDX = "cyclonedx-json"

func newSbomCommand(a *app) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "sbom NAME",
		Short: "list a root's packages as a CycloneDX bill of materials",
		Long: "sbom prints the packages of a root's dpkg database as JSON of CycloneDX 1.6, each with its package URL, its source\n" +
			"package and, where rootctl installed it, the SHA-256 of its .deb. Equal roots give equal bytes.",
		Example: "  rootctl sbom bionic > bionic.cdx.json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			if format != cycloneDX {
				return withHint(&flagError{fmt.Errorf("unknown format %q", format)}, "--format %s is the one there is", cycloneDX)
			}
			store, ref, err := a.find("sbom", names[0])
			if err != nil {
				return err
			}
			text, err := a.sbomOf(store, ref)
			if err != nil {
				return fmt.Errorf("sbom %s: %w", names[0], err)
			}
			a.warnUnverified(names[0], ref)
			_, err = a.stdout.Write(text)
			return err
		},
	}
	c.Flags().StringVar(&format, "format", cycloneDX, "`format` of what is printed: "+cycloneDX)
	return c
}

// sbomOf is the bill of materials of a root that is there: what its dpkg database lists, joined with the Lock it was built
// from.
func (a *app) sbomOf(store *cache.Store, ref cache.Ref) ([]byte, error) {
	var info debootstrap.Info
	if err := json.Unmarshal(ref.Info, &info); err != nil {
		return nil, fmt.Errorf("read its record: %w", err)
	}
	t, err := unpack.Open(filepath.Join(store.Dir(), "roots", string(ref.Root)))
	if err != nil {
		return nil, err
	}
	defer t.Close()
	r := sbom.Root{Digest: string(ref.Root), Suite: info.Suite, Title: info.Title, Arch: info.Arch, Properties: sbomFacts(&info)}
	if err := a.sbomDistribution(&r, &info, t); err != nil {
		return nil, err
	}
	known := map[string]*debootstrap.LockPackage{}
	if info.HasLock() {
		lock, err := debootstrap.LockOfRoot(store, ref)
		if err != nil {
			return nil, err
		}
		for i := range lock.Packages {
			p := &lock.Packages[i]
			known[p.Name+" "+p.Version+" "+p.Arch] = p
		}
	}
	r.Packages = sbomPackages(t, known)
	return r.CycloneDX()
}

// sbomDistribution is the suite's word for a root that was built, and else the root's own.
func (a *app) sbomDistribution(r *sbom.Root, info *debootstrap.Info, t *unpack.Tree) error {
	if info.HasLock() {
		set, err := a.suites()
		if err != nil {
			return err
		}
		if su, err := set.Lookup(info.Suite); err == nil {
			r.Family, r.Version = su.Family, su.Version
			return nil
		}
	}
	release := osRelease(t)
	r.Family, r.Version = oneWord(release["ID"]), oneWord(release["VERSION_ID"])
	return nil
}

// sbomFacts are what stands behind the list, as far as equal roots share it.
func sbomFacts(i *debootstrap.Info) []sbom.Property {
	var list []sbom.Property
	add := func(name, value string) {
		if value != "" {
			list = append(list, sbom.Property{Name: "rootctl:" + name, Value: value})
		}
	}
	switch {
	case i.Imported != nil:
		add("origin", "imported: the list is the root's own word, and nobody's signature was checked")
	case i.Committed != nil:
		add("origin", "committed from a container: the list is the root's own word")
	case i.Unverified:
		add("origin", "UNVERIFIED: built with --no-verify, nobody's signature was checked")
	case i.Locked:
		add("origin", "built from a lock file: nobody has checked the signatures that it names")
	default:
		add("origin", "built from archives whose signatures were checked")
	}
	add("variant", i.Variant)
	for _, p := range i.Pockets {
		add("release", p.Suite+" of "+p.Date.UTC().Format(time.RFC3339))
		for _, by := range p.Signers {
			add("signed by", by)
		}
	}
	for _, e := range i.Exceptions {
		add("exception", e)
	}
	return list
}

// sbomPackages lists what dpkg-query -W does: all of the database but what is not installed. A package that is not in the
// Lock, or in another version, came by a script or from outside: the database is all that is known of it.
func sbomPackages(t *unpack.Tree, known map[string]*debootstrap.LockPackage) []sbom.Package {
	b, err := t.ReadFile("/var/lib/dpkg/status", maxLook)
	if err != nil {
		return nil // a root without dpkg has no packages
	}
	var list []sbom.Package
	for text, err := range control.Paragraphs(string(b)) {
		if err != nil {
			break // as packagesIn does
		}
		words := strings.Fields(control.Field(text, "Status"))
		p := sbom.Package{Name: control.Field(text, "Package"), Version: control.Field(text, "Version"),
			Arch: control.Field(text, "Architecture"), Source: control.Field(text, "Source")}
		if p.Name == "" || len(words) != 3 || words[2] == "not-installed" {
			continue
		}
		fact := func(name, value string) {
			p.Properties = append(p.Properties, sbom.Property{Name: "rootctl:" + name, Value: value})
		}
		if lp := known[p.Name+" "+p.Version+" "+p.Arch]; lp != nil {
			p.SHA256 = string(lp.SHA256)
			fact("pocket", cmp.Or(lp.Pocket, "release"))
			fact("path", lp.Path)
		} else {
			fact("origin", "dpkg's database alone")
		}
		if words[2] != "installed" {
			fact("status", words[2])
		}
		list = append(list, p)
	}
	return list
}
