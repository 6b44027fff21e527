package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/suites"
)

// Source is an archive beside the suite's, with keys of its own. Its packages are taken where the suite has none of the
// name, or an older one; those that the suite gives the priority standard or a higher one are the suite's.
type Source struct {
	Name       string
	URL        string
	Suite      string
	Components []string
	Packages   []string // the only ones that are taken; none is all
	Key        []byte   // OpenPGP keys, binary or armored
}

// pocket is what its one pocket is called, in keys, Locks and messages.
func (s *Source) pocket() string { return "source-" + s.Name }

type sourceInput struct {
	Name     string   `json:"name"`
	Packages []string `json:"packages"`
}

// sourceInputs are what decides which of the sources' packages are selected; their indices are in the key besides.
func sourceInputs(list []Source) (out []sourceInput) {
	for _, s := range list {
		out = append(out, sourceInput{s.Name, s.Packages})
	}
	return out
}

type askedSource struct {
	Name       string       `json:"name"`
	URL        string       `json:"url"`
	Suite      string       `json:"suite"`
	Components []string     `json:"components"`
	Packages   []string     `json:"packages"`
	Key        cache.Digest `json:"key"`
}

func askedSources(list []Source) (out []askedSource) {
	for _, s := range list {
		out = append(out, askedSource{s.Name, s.URL, s.Suite, s.Components, s.Packages, digestOf(s.Key)})
	}
	return out
}

// sourceOptions say how to read a source. It is verified whatever is excused of the suite's archive.
func (j *job) sourceOptions(s *Source) (o archive.Options, err error) {
	if !j.req.At.IsZero() {
		return o, &UsageError{What: fmt.Sprintf("source %s has no past to read", s.Name), Next: "drop --at"}
	}
	if pgp.HasSecret(s.Key) { // the file goes into the root
		return o, &UsageError{What: fmt.Sprintf("key of source %s: the file holds a secret key", s.Name), Next: "give the public one alone: gpg --export --armor KEY >FILE"}
	}
	keyring, err := pgp.ReadKeyring(s.Key)
	if err != nil {
		return o, &UsageError{What: fmt.Sprintf("key of source %s: %v", s.Name, err), Next: "give a file of OpenPGP public keys, binary or armored: gpg --export --armor KEY >FILE"}
	}
	su := suites.Suite{Codename: s.Suite, Components: s.Components,
		Pockets: []suites.Pocket{{Name: s.pocket(), Suite: s.Suite, Mirrors: map[string][]string{"default": {s.URL}}}}}
	return archive.Options{
		Suite: su, Keyring: keyring, Arch: j.req.Arch, Components: s.Components, Pockets: []string{s.pocket()},
		PocketMirrors: map[string][]string{s.pocket(): {s.URL}}, AllowOlder: j.req.AllowOlder, Now: j.Now, Client: j.Client, Store: j.Store, Log: j.Log, OnBytes: j.received,
	}, nil
}

// beside adds the request's sources to the suite's archive.
func (j *job) beside(ctx context.Context, ar *archive.Archive) (*archive.Archive, error) {
	for i := range j.req.Added.Sources {
		s := &j.req.Added.Sources[i]
		o, err := j.sourceOptions(s)
		if err != nil {
			return nil, err
		}
		b, err := archive.Open(ctx, o)
		if err != nil {
			return nil, &sourceError{s, err}
		}
		ar = ar.With(b)
	}
	return ar, nil
}

// sourceError is a source that cannot be read, with a next step that makes sense for one: its keys, suite and URL stand in
// the recipe, and no flag excuses what a suite's archive may be excused.
type sourceError struct {
	source *Source
	error
}

func (e *sourceError) Error() string { return "source " + e.source.Name + ": " + e.error.Error() }
func (e *sourceError) Unwrap() error { return e.error }

func (e *sourceError) Hint() string {
	var untrusted *pgp.Untrusted
	var expired *archive.Expired
	var suite *archive.WrongSuite
	switch {
	case errors.As(e.error, &untrusted):
		return fmt.Sprintf("key in the recipe has to name the keys that sign %s at %s; no flag takes it without", e.source.Suite, e.source.URL)
	case errors.As(e.error, &expired):
		return "its archive is out of date, or this machine's clock wrong: no flag excuses that of a source"
	case errors.As(e.error, &suite):
		return fmt.Sprintf("suite in the recipe is to be the word behind the URL in its line of sources.list, and this server has no %s there", e.source.Suite)
	case errors.Is(e.error, archive.ErrNotFound) && !errors.Is(e.error, archive.ErrOffline):
		return fmt.Sprintf("there is no %s/dists/%s: compare with its line of sources.list; archives without dists/ are not read", e.source.URL, e.source.Suite)
	}
	return ""
}

// besideAtHand is beside without asking anybody.
func (j *job) besideAtHand(ar *archive.Archive) (*archive.Archive, []archive.Lack, error) {
	var lacks []archive.Lack
	for i := range j.req.Added.Sources {
		o, err := j.sourceOptions(&j.req.Added.Sources[i])
		if err != nil {
			return nil, nil, err
		}
		b, more, err := archive.Recorded(o)
		if err != nil {
			return nil, nil, err
		}
		lacks, ar = append(lacks, more...), ar.With(b)
	}
	return ar, lacks, nil
}

// place is a pocket with the components to take from it.
type place struct {
	*archive.Pocket
	of     *archive.Archive
	comps  []string
	source *Source // nil: the suite's own
}

// places are the suite's pockets, then the sources': those of this request alone, for a root that extends another may
// have more than it.
func (r *Request) places(ar *archive.Archive) (out []place) {
	for _, p := range ar.Pockets {
		out = append(out, place{p, ar, r.Components, nil})
	}
	for i := range r.Added.Sources {
		s := &r.Added.Sources[i]
		for _, b := range ar.Beside {
			if p := b.Pocket(s.pocket()); p != nil {
				out = append(out, place{p, b, s.Components, s})
			}
		}
	}
	return out
}

// index reads one of a place's indices.
func (p *place) index(ctx context.Context, component string) (resolve.Source, error) {
	data, err := p.of.Packages(ctx, p.Pocket, component)
	out := resolve.Source{Pocket: p.Name, Component: component, Data: data}
	if p.source != nil {
		out.Beside, out.Only = true, p.source.Packages
	}
	return out, err
}

// sourceFiles are what apt in the root needs for the sources: a list and the keys.
func (r Request) sourceFiles() (lists []LockFile, keys []AddedFile) {
	for _, s := range r.Added.Sources {
		key := "/etc/apt/keyrings/" + s.Name + ".gpg"
		if strings.HasPrefix(strings.TrimSpace(string(s.Key)), "-----BEGIN") {
			key = strings.TrimSuffix(key, ".gpg") + ".asc"
		}
		keys = append(keys, AddedFile{Path: key, Mode: 0o644, Content: s.Key})
		lists = append(lists, LockFile{Path: "/etc/apt/sources.list.d/" + s.Name + ".list", Mode: 0o644,
			Content: fmt.Sprintf("deb [arch=%s signed-by=%s] %s %s %s\n", r.Arch, key, s.URL, s.Suite, strings.Join(s.Components, " "))})
	}
	return lists, keys
}

// withKeys joins the user's files with those for sources; the user's win.
func withKeys(own, keys []AddedFile) []AddedFile {
	out := slices.Clone(own)
	for _, k := range keys {
		if !slices.ContainsFunc(own, func(f AddedFile) bool { return f.Path == k.Path }) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(x, y AddedFile) int { return strings.Compare(x.Path, y.Path) })
	return out
}
