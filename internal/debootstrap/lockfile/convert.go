package lockfile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
)

// FromLock makes a file's entry of a Lock and the request that led to it, with its defaults filled in.
// Mirrors, what was let pass, and positions in the index stay out: they differ where the archive does not.
func FromLock(l *debootstrap.Lock, q debootstrap.Request) (Root, error) {
	r := Root{Suite: l.Suite, Variant: l.Variant, Arch: l.Arch, Merged: l.Merged, Staged: l.Staged, Rules: l.Rules, Epoch: l.Epoch,
		Paragraphs: map[string][]string{},
		Request: Request{Components: q.Components, Include: q.Include, Exclude: q.Exclude, KeepMirror: q.KeepMirror, NoVerify: q.NoVerify,
			Pockets: slices.DeleteFunc(slices.Clone(q.Pockets), func(p string) bool { return p == "release" })}}
	if l.Parent != nil {
		return r, &debootstrap.UsageError{What: "a lock file holds no root that extends another",
			Next: "lock the root that it extends, or say what it has in the place of extends"}
	}
	if q.Added.Unshared() {
		return r, &debootstrap.UsageError{What: "a hook takes from the network what no lock file can name",
			Next: `a word for what is there now makes builds share a root: cache-salt = "2026-11" in the recipe, or --cache-salt`}
	}
	r.recipe(l, q)
	if !q.At.IsZero() {
		r.Request.At = q.At.UTC().Format(AtLayout)
	}
	for _, k := range q.Keyring {
		r.Request.Keyring = append(r.Request.Keyring, cache.Sum(k))
	}
	for _, l := range l.Releases {
		rel := Release{Pocket: l.Pocket, Suite: l.Suite, Origin: l.Origin, Codename: l.Codename, Date: l.Date.UTC(), Digest: l.Digest, Unverified: l.Unverified}
		for _, s := range l.Signers {
			rel.Signers = append(rel.Signers, s[strings.LastIndexByte(s, ' ')+1:])
		}
		slices.Sort(rel.Signers)
		r.Releases = append(r.Releases, rel)
	}
	packages := slices.Clone(l.Packages)
	slices.SortStableFunc(packages, func(a, b debootstrap.LockPackage) int { return a.Order - b.Order })
	for _, p := range packages {
		if !utf8.ValidString(p.Stanza) {
			return r, fmt.Errorf("lock %s: its paragraph in the index is no UTF-8, which JSON cannot hold", p.Name)
		}
		r.Packages = append(r.Packages, Package{Name: p.Name, Version: p.Version, Arch: p.Arch, Pocket: p.Pocket, Path: p.Path,
			Size: p.Size, SHA256: p.SHA256, Required: p.Required})
		r.Paragraphs[p.Name] = strings.Split(p.Stanza, "\n")
	}
	for _, f := range l.Files {
		r.Files = append(r.Files, Written{Path: f.Path, Mode: fmt.Sprintf("%04o", f.Mode), Content: f.Content})
	}
	return r, nil
}

// recipe notes what a recipe adds.
func (r *Root) recipe(l *debootstrap.Lock, q debootstrap.Request) {
	r.CacheSalt = l.Salt
	for _, f := range l.Added {
		r.Added = append(r.Added, Added{f.Path, fmt.Sprintf("%04o", f.Mode), cmp.Or(f.Owner, "0:0"), f.Digest()})
	}
	for _, h := range l.Hooks {
		script, env := h.Sums()
		r.Hooks = append(r.Hooks, Hook{h.When, h.Name, script, env, h.Network})
	}
	for _, s := range q.Added.Sources {
		r.Request.Sources = append(r.Request.Sources, Source{s.Name, s.URL, s.Suite, s.Components, s.Packages, cache.Sum(s.Key)})
	}
}

// added is the other way round; the contents are not known.
func (r Root) added(l *debootstrap.Lock) error {
	l.Salt = r.CacheSalt
	for _, f := range r.Added {
		mode, err := strconv.ParseUint(f.Mode, 8, 32)
		if err != nil {
			return fmt.Errorf("lock: file %s: mode %q", f.Path, f.Mode)
		}
		l.Added = append(l.Added, debootstrap.AddedFile{Path: f.Path, Mode: uint32(mode), Owner: f.Owner, Sum: f.SHA256})
	}
	for _, h := range r.Hooks {
		l.Hooks = append(l.Hooks, debootstrap.Hook{When: h.When, Name: h.Name, Network: h.Network, ScriptSum: h.SHA256, EnvSum: h.Env})
	}
	return nil
}

// Beside are the archives beside the suite's, without their keys.
func (q Request) Beside() (out []debootstrap.Source) {
	for _, s := range q.Sources {
		out = append(out, debootstrap.Source{Name: s.Name, URL: s.URL, Suite: s.Suite, Components: s.Components, Packages: s.Packages})
	}
	return out
}

// Lock is what the root is built from. Files and hooks of a recipe have digests and no contents.
func (r Root) Lock() (*debootstrap.Lock, error) {
	l := &debootstrap.Lock{Schema: debootstrap.LockSchema, Suite: r.Suite, Variant: r.Variant, Arch: r.Arch, Merged: r.Merged, Staged: r.Staged,
		Rules: r.Rules, Epoch: r.Epoch}
	for _, e := range r.Releases {
		l.Releases = append(l.Releases, debootstrap.LockRelease{Pocket: e.Pocket, Suite: e.Suite, Origin: e.Origin, Codename: e.Codename,
			Date: e.Date, Digest: e.Digest, Signers: e.Signers, Unverified: e.Unverified})
	}
	for i, p := range r.Packages {
		text := strings.Join(r.Paragraphs[p.Name], "\n")
		l.Packages = append(l.Packages, debootstrap.LockPackage{Name: p.Name, Version: p.Version, Arch: p.Arch, Pocket: p.Pocket, Path: p.Path,
			Size: p.Size, SHA256: p.SHA256, Required: p.Required, Stanza: text, Order: i,
			Priority: control.Field(text, "Priority"), Section: control.Field(text, "Section")})
	}
	for _, f := range r.Files {
		mode, err := strconv.ParseUint(f.Mode, 8, 32)
		if err != nil {
			return nil, fmt.Errorf("lock: file %s: mode %q", f.Path, f.Mode)
		}
		l.Files = append(l.Files, debootstrap.LockFile{Path: f.Path, Mode: uint32(mode), Content: f.Content})
	}
	if err := r.added(l); err != nil {
		return nil, err
	}
	return l, l.Validate()
}

// Moment is the time the root was asked for as of, zero for now.
func (q Request) Moment() time.Time {
	t, _ := time.Parse(AtLayout, q.At) // checked when it was read
	return t
}
