package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/suites"
)

// parseName reads SUITE[-VARIANT][:ARCH] against the known suites. The error is *suites.UnknownSuite
// when no reading fits.
func parseName(set *suites.Set, name string) (debootstrap.Request, error) {
	rest, arch, hasArch := strings.Cut(name, ":")
	if hasArch && (rest == "debian" || rest == "ubuntu") { // Docker's way
		_, err := set.Lookup(name)
		return debootstrap.Request{}, err
	}
	r := debootstrap.Request{Variant: "minbase", Arch: hostArch()}
	if hasArch {
		r.Arch = arch
	}
	var err error
	if suite, variant := cutVariant(rest); variant != "" && !set.Has(rest) {
		if s, e := set.Lookup(suite); e == nil {
			r.Suite, r.Variant = s, variant
			return r, nil
		}
	}
	if r.Suite, err = set.Lookup(rest); err == nil {
		return r, nil
	}
	if suite, variant, ok := cutLast(rest, "-"); ok {
		if s, e := set.Lookup(suite); e == nil {
			return r, &debootstrap.UsageError{What: fmt.Sprintf("%s has no variant %q", s.Codename, variant),
				Next: "its variants: " + strings.Join(resolve.Variants(), ", ")}
		}
	}
	return r, err
}

// cutVariant splits the suite of SUITE-VARIANT from a known variant, "" if there is none.
func cutVariant(name string) (suite, variant string) {
	for _, v := range resolve.Variants() {
		if suite, ok := strings.CutSuffix(name, "-"+v); ok {
			return suite, v
		}
	}
	return name, ""
}

// suiteWord is the part of a name that stands for the suite: codename, role or alias.
func suiteWord(set *suites.Set, name string) string {
	rest, _, _ := strings.Cut(name, ":")
	if set.Has(rest) {
		return rest
	}
	suite, _ := cutVariant(rest)
	return suite
}

// cutLast cuts s at the last sep.
func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// shortest digest prefix that is taken for a digest rather than for a misspelt name.
const minDigestPrefix = 6

// cached is lookUp for a root that is there; *goneRoot if only its name is.
func (a *app) cached(s *cache.Store, name string) (cache.Ref, error) {
	ref, err := a.lookUp(s, name)
	if err == nil && !s.HasRoot(ref.Root) {
		err = a.gone(name, ref)
	}
	return ref, err
}

// lookUp returns the ref NAME stands for: a name of the cache, else a unique digest prefix of a root,
// else another spelling of a suite's name (bionic-minbase, bionic:amd64, 18.04). cache.ErrNotFound when
// none is there.
func (a *app) lookUp(s *cache.Store, name string) (cache.Ref, error) {
	ref, err := s.Ref(name)
	if err == nil || !errors.Is(err, cache.ErrNotFound) && !looksLikeDigest(name) {
		return ref, err
	}
	if set, e := a.suites(); e == nil {
		if req, e := parseName(set, name); e == nil && req.Name(hostArch()) != name {
			if word := suiteWord(set, name); word == req.Suite.Role {
				if last, ok := debootstrap.LastRole(s, req.Suite.Family, word); ok {
					req.Suite.Codename = last.Codename
				}
			}
			return s.Ref(req.Name(hostArch()))
		}
	}
	prefix := strings.TrimPrefix(name, "sha256:")
	if !looksLikeDigest(prefix) {
		return cache.Ref{}, err
	}
	d, err := s.FindRoot(prefix)
	if errors.Is(err, cache.ErrNotFound) {
		if refs, e := s.Refs(); e == nil {
			for _, r := range refs {
				if strings.HasPrefix(string(r.Root), prefix) {
					return r, nil
				}
			}
		}
	}
	if err != nil {
		return cache.Ref{}, err
	}
	return refOf(s, d)
}

// refOf makes a ref of a root: from a name that has it, else from its build record. The listing says where to look; only
// if it is not up to date are all names and records read.
func refOf(s *cache.Store, d cache.Digest) (cache.Ref, error) {
	for range 2 {
		if name, key, ok := s.ListedRoot(d); ok && name != "" {
			if r, err := s.Ref(name); err == nil && r.Root == d {
				return r, nil
			}
		} else if ok && key != "" {
			if r, err := debootstrap.RefOfKey(s, key); err == nil && r.Root == d {
				return r, nil
			}
		}
		if _, err := listing(s); err != nil {
			return cache.Ref{}, err
		}
	}
	refs, err := s.Refs()
	if err != nil {
		return cache.Ref{}, err
	}
	for _, r := range refs {
		if r.Root == d {
			return r, nil
		}
	}
	return debootstrap.RefOfRoot(s, d)
}

func looksLikeDigest(s string) bool {
	s = strings.TrimPrefix(s, "sha256:")
	if len(s) < minDigestPrefix || len(s) > 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}
