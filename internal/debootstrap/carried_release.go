package debootstrap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
)

// carriedRelease is the text of a record of releases in a parcel, whose name is the digest of what was signed. Its pocket's
// keys and mirrors are looked up where it arrives.
type carriedRelease struct {
	Suite  string `json:"suite"` // codename
	Pocket string `json:"pocket"`
	Arch   string `json:"arch"`
	archive.Signed
}

// CarryReleases are the signed indices that a Lock's packages were chosen by, as far as the cache has them: records of their
// Releases, and the indices themselves. lacks says of which pockets it has not, and why.
func (b *Builder) CarryReleases(l *Lock, req Request) (records []parcel.Record, indices []archive.File, lacks []error) {
	for _, r := range l.Releases {
		rec, files, err := b.carryRelease(l, req, r)
		if err != nil {
			lacks = append(lacks, fmt.Errorf("%s: %w", r.Suite, err))
			continue
		}
		records, indices = append(records, rec), append(indices, files...)
	}
	return records, indices, lacks
}

func (b *Builder) carryRelease(l *Lock, req Request, r LockRelease) (rec parcel.Record, files []archive.File, err error) {
	switch {
	case r.Unverified:
		return rec, nil, errors.New("nobody has signed it")
	case strings.HasPrefix(r.Pocket, "source-"):
		return rec, nil, errors.New("whose key signs a source only its recipe says")
	case !req.At.IsZero():
		return rec, nil, errors.New("it is of the archive's past")
	}
	o, err := b.releaseOptions(req, r.Pocket)
	if err != nil {
		return rec, nil, err
	}
	s, files, err := archive.Carry(o, r.Pocket, r.Digest)
	if err != nil {
		return rec, nil, err
	}
	text, err := json.Marshal(carriedRelease{l.Suite, r.Pocket, l.Arch, s})
	return parcel.Record{Folder: "releases", Name: string(r.Digest), Text: string(text)}, files, err
}

// releaseOptions say how to read one pocket of a request's suite.
func (b *Builder) releaseOptions(req Request, pocket string) (archive.Options, error) {
	req.Added = Additions{}
	j, err := b.job(req)
	if err != nil {
		return archive.Options{}, err
	}
	return j.archiveOptions([]string{pocket})
}

// FetchReleases reads the archive's Releases and indices as a resolution of req does, and resolves nothing.
func (b *Builder) FetchReleases(ctx context.Context, req Request) error {
	j, err := b.job(req)
	if err != nil {
		return err
	}
	ar, err := j.open(ctx)
	if err != nil {
		return err
	}
	return j.follow(ctx, ar, func() error {
		for _, p := range j.req.places(ar) {
			for _, c := range p.comps {
				if _, err := p.index(ctx, c); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// readCarriedRelease judges the form of a record; its signature is for KeepReleases.
func readCarriedRelease(r parcel.Record) (c carriedRelease, err error) {
	d := json.NewDecoder(bytes.NewReader([]byte(r.Text)))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return c, err
	}
	if d.More() || !cache.Digest(r.Name).Valid() || !validName(c.Suite) || !validName(c.Pocket) || !isWord(c.Arch) {
		return c, errors.New("it is no Release's record")
	}
	return c, c.Check()
}

// KeepReleases takes the Releases of a parcel into the cache: those that the suite's own keys have signed, where the cache
// has none as new. refused says why others were left out; a cache that cannot be written to is an error.
func (b *Builder) KeepReleases(records []parcel.Record) (refused []error, err error) {
	for _, r := range records {
		if r.Folder != "releases" {
			continue
		}
		c, err := readCarriedRelease(r)
		if err != nil {
			return refused, err
		}
		su, err := b.Suites.Lookup(c.Suite)
		if err == nil && su.Codename != c.Suite {
			err = fmt.Errorf("%s is no codename", c.Suite)
		}
		if _, ok := su.Pocket(c.Pocket); err == nil && !ok {
			err = fmt.Errorf("%s has no pocket %q", c.Suite, c.Pocket)
		}
		var o archive.Options
		if err == nil {
			o, err = b.releaseOptions(Request{Suite: su, Arch: c.Arch, Pockets: []string{c.Pocket}}, c.Pocket)
		}
		if err == nil {
			var failed error
			if err, failed = archive.Keep(o, c.Pocket, cache.Digest(r.Name), c.Signed); failed != nil {
				return refused, failed
			}
		}
		if err != nil {
			refused = append(refused, fmt.Errorf("the signed index of %s, %s: %w", c.Suite, c.Pocket, err))
		}
	}
	return slices.Clip(refused), nil
}
