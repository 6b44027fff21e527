package main

import (
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

// realDebs are packages of a real archive, verified and fetched as a build does it.
type realDebs struct {
	archive *archive.Archive
	store   *cache.Store
	index   *resolve.Index
	arch    string
}

// openReal reads the index of a suite's main component, or skips loudly where no mirror answers.
func openReal(t *testing.T, suite string) *realDebs {
	t.Helper()
	if os.Getenv("ROOTCTL_E2E") != "1" {
		t.Skip("needs archive: real archives are asked with ROOTCTL_E2E=1 only")
	}
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	su, err := set.Lookup(suite)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := set.Keyring(su)
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := pgp.ReadKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.Open(filepath.Join(t.TempDir(), "debs"), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	arch := testarchive.HostArch(t)
	client := &fetch.Client{}
	t.Cleanup(client.CloseIdle)
	a, err := archive.Open(t.Context(), archive.Options{Suite: su, Keyring: keyring, Arch: arch, Client: client, Store: store,
		Mirrors: append(archive.HostMirrors(os.DirFS("/"), su.Family, "release", arch), su.MirrorsFor(arch)...),
		Log:     slog.New(slog.DiscardHandler)})
	if errors.Is(err, archive.ErrOffline) || errors.Is(err, archive.ErrNotFound) {
		t.Skipf("needs archive: no mirror of %s answers: %v", suite, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := a.Packages(t.Context(), a.Pockets[0], "main")
	if err != nil {
		t.Fatal(err)
	}
	index, err := resolve.NewIndex([]resolve.Source{{Pocket: "release", Component: "main", Data: text}})
	if err != nil {
		t.Fatal(err)
	}
	return &realDebs{a, store, index, arch}
}

// closure are the packages that a root of these required ones and apt holds.
func (r *realDebs) closure(t *testing.T, required []string) []resolve.Package {
	t.Helper()
	var seeds []string
	for _, name := range required {
		if _, ok := r.index.Lookup(name); ok {
			seeds = append(seeds, name)
		}
	}
	done := map[string]bool{}
	for len(seeds) > 0 {
		name := seeds[len(seeds)-1]
		seeds = seeds[:len(seeds)-1]
		p, ok := r.index.Lookup(name)
		if done[name] || !ok {
			continue
		}
		done[name] = true
		for _, field := range []string{"Pre-Depends", "Depends"} {
			rels, err := control.ParseRelations(p.Field(field))
			if err != nil {
				t.Fatal(err)
			}
			for _, rel := range rels {
				seeds = append(seeds, rel[0].Name)
			}
		}
	}
	var out []resolve.Package
	for _, name := range slices.Sorted(maps.Keys(done)) {
		p, _ := r.index.Lookup(name)
		out = append(out, p)
	}
	return out
}

// fetch returns the package as it is in the archive, with the fields of its index paragraph.
func (r *realDebs) fetch(t *testing.T, p resolve.Package) testarchive.Package {
	t.Helper()
	size, err := strconv.ParseInt(p.Field("Size"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	f := archive.File{Path: p.Field("Filename"), Size: size, SHA256: cache.Digest(p.Field("SHA256"))}
	if err := r.archive.Fetch(t.Context(), "release", f); err != nil {
		t.Fatal(err)
	}
	file, err := r.store.OpenDownload(f.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	deb, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for name, value := range control.Fields(p.Stanza) {
		fields[name] = value
	}
	return testarchive.Package{Name: p.Name, Version: p.Field("Version"), Arch: p.Field("Architecture"), Raw: deb, Control: fields, Path: f.Path}
}
