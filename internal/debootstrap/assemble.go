package debootstrap

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
	"github.com/rootctl/rootctl/suites"
)

// extraBase are the packages that follow from the root's sources.list: an https line there needs
// certificates, and on old suites a transport. The mirror downloaded from does not matter.
func (r Request) extraBase() []string {
	for _, line := range r.sourceLines() {
		if strings.HasPrefix(line.base, "https:") {
			return r.Suite.Rules.HTTPSPackages
		}
	}
	for _, s := range r.Added.Sources {
		if strings.HasPrefix(s.URL, "https:") {
			return r.Suite.Rules.HTTPSPackages
		}
	}
	return nil
}

type sourceLine struct{ base, suite string }

// sourceLines are the archives apt in the root is to use: release, updates and security from the
// suite's public mirrors, or from the first given mirror under KeepMirror.
func (r Request) sourceLines() []sourceLine {
	first := func(pocket string) string {
		if kept := r.keptMirror(pocket); kept != "" {
			return kept
		}
		if own, _ := r.ownMirrors(pocket); len(own) > 0 {
			return own[0]
		}
		return ""
	}
	lines := []sourceLine{{first("release"), r.Suite.Codename}}
	for _, p := range r.Suite.Pockets {
		if p.Name == "updates" || p.Name == "security" || slices.Contains(r.Pockets, p.Name) {
			lines = append(lines, sourceLine{first(p.Name), p.Suite})
		}
	}
	return lines
}

// keptMirror is the mirror sources.list names for a pocket under KeepMirror: the one it was read from,
// else the first that would have been asked for it; "" means the suite's public one.
func (r Request) keptMirror(pocket string) string {
	if !r.KeepMirror {
		return ""
	}
	if m := r.kept[pocket]; m != "" {
		return m
	}
	urls := r.mirrorURLs(pocket)
	switch {
	case len(urls) > 0 && !(r.sameArchive(pocket) && slices.Contains(r.mirrorURLs("release"), urls[0])):
		return withoutUser(urls[0])
	case r.sameArchive(pocket):
		return r.kept["release"]
	}
	return ""
}

// mirrorsFor picks an architecture's mirrors of a suite definition.
func mirrorsFor(m map[string][]string, arch string) []string {
	if l, ok := m[arch]; ok {
		return l
	}
	return m["default"]
}

// withoutUser strips user and password, which belong into no record.
func withoutUser(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// closure is what K1 leads to: the packages, without anything that a key does not cover.
type closure struct {
	Packages []LockPackage `json:"packages"`
	Warnings []string      `json:"warnings,omitempty"`
}

// newClosure turns a resolved set into lock entries in index order.
// learned are the SHA-256 of packages whose entry has none.
func newClosure(s *resolve.Set, learned map[string]cache.Digest) (closure, error) {
	c := closure{Warnings: s.Warnings}
	add := func(list []resolve.Package, required bool) error {
		for _, p := range list {
			lp, err := lockPackage(p, required, learned[p.Name])
			if err != nil {
				return err
			}
			c.Packages = append(c.Packages, lp)
		}
		return nil
	}
	if err := add(s.Required, true); err != nil {
		return c, err
	}
	if err := add(s.Base, false); err != nil {
		return c, err
	}
	slices.SortFunc(c.Packages, func(a, b LockPackage) int { return a.Order - b.Order })
	return c, nil
}

func lockPackage(p resolve.Package, required bool, sum cache.Digest) (LockPackage, error) {
	// A copy, for the entry's fields are parts of it: an index of 50 MB is not to outlive the selection.
	p.Stanza = strings.Clone(strings.TrimRight(p.Stanza, "\n"))
	p.Name = strings.Clone(p.Name)
	size, err := strconv.ParseInt(p.Field("Size"), 10, 64)
	if err != nil || size <= 0 || size > maxDebSize {
		return LockPackage{}, fmt.Errorf("index entry of %s: bad Size %q", p.Name, p.Field("Size"))
	}
	if err := version.Valid(p.Field("Version")); err != nil {
		return LockPackage{}, fmt.Errorf("index entry of %s: %w", p.Name, err)
	}
	if sum == "" {
		sum = cache.Digest(p.Field("SHA256"))
	}
	digest, err := cache.ParseDigest(string(sum))
	if err != nil {
		return LockPackage{}, fmt.Errorf("index entry of %s: %w", p.Name, err)
	}
	return LockPackage{
		Name: p.Name, Version: p.Field("Version"), Arch: p.Field("Architecture"), Pocket: p.Pocket,
		Path: p.Field("Filename"), Size: size, SHA256: digest, Required: required,
		Priority: p.Field("Priority"), Section: p.Field("Section"),
		Stanza: p.Stanza, Order: p.Order,
	}, nil
}

// maxDebSize bounds one package, in bytes.
const maxDebSize = 8 << 30

// lock joins a closure with what the request adds.
func (r Request) lock(c closure, releases []LockRelease) *Lock {
	epoch := EpochAuto
	if r.Epoch != nil {
		epoch = strconv.FormatInt(*r.Epoch, 10)
	}
	lists, keys := r.sourceFiles()
	l := &Lock{
		Schema: LockSchema, Suite: r.Suite.Codename, Variant: r.Variant, Arch: r.Arch,
		Merged: merged(r.Suite.Rules, r.Variant), Rules: r.Suite.Rules,
		// Who knows what is added: scripts of systemd's kind expect that the required packages are configured.
		Staged:   len(r.Include) > 0 || needsStages(r.Added.Hooks),
		Releases: releases, Packages: c.Packages, Files: append(r.files(c, releases), lists...), Epoch: epoch,
		Added: withKeys(r.Added.Files, keys), Hooks: r.Added.Hooks, Salt: r.Added.Salt,
	}
	if r.Added.Unshared() {
		l.Unshared = nonce()
	}
	return l
}

func merged(rules suites.Rules, variant string) bool {
	return rules.Merged == "yes" && !slices.Contains(rules.UnmergedVariants, variant)
}
