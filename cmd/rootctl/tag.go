package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/suites"
)

func newTagCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "tag NAME NEW",
		Short:   "give a root another name",
		Example: "  rootctl tag bionic before-the-change\n  rootctl tag 3f9a1c0b77d2 mine",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(_ *cobra.Command, names []string) error {
			store, ref, err := a.find("tag", names[0])
			if err != nil {
				return err
			}
			if err := a.checkTag(names[1]); err != nil {
				return err
			}
			ref.Name = names[1]
			if old, err := store.Ref(names[1]); err == nil && old.Root != ref.Root {
				a.say("%s was %s until now", names[1], old.Root.Short())
			}
			if err := debootstrap.SetName(store, ref, a.now()); err != nil {
				return fmt.Errorf("tag %s: %w", names[1], err)
			}
			a.say("%s is now also %s", names[0], names[1])
			return nil
		},
	}
}

func newUntagCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "untag NAME",
		Short:   "take a name away; the root stays in the cache",
		Example: "  rootctl untag mine",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			store, err := a.existingStore()
			if err != nil {
				return err
			}
			ref, err := store.Ref(names[0])
			if err != nil {
				return a.noSuchRoot("untag", names[0], err)
			}
			if err := store.DeleteRef(names[0]); err != nil {
				return fmt.Errorf("untag %s: %w", names[0], err)
			}
			if !store.HasRoot(ref.Root) {
				a.say("%s is no longer a name; its root %s was no longer in the cache", names[0], ref.Root.Short())
				return nil
			}
			a.say("%s is no longer a name; its root is %s (rootctl cache gc removes it once it is unused for long)", names[0], ref.Root.Short())
			return nil
		},
	}
}

// checkTag refuses names that mean something else: a plain suite name always means that suite's root,
// and a name of hexadecimal digits would hide digests.
func (a *app) checkTag(name string) error {
	set, err := a.suites()
	if err != nil {
		return err
	}
	if _, err := parseName(set, name); err == nil {
		return withHint(&flagError{fmt.Errorf("name %s: it always means that suite, as released and verified", name)}, "choose another, such as my-%s", name)
	}
	if looksLikeDigest(name) {
		return withHint(&flagError{fmt.Errorf("name %s: it reads like a digest", name)}, "choose one with a letter after f")
	}
	if err := cache.CheckRefName(name); err != nil {
		return &flagError{err}
	}
	return nil
}

// find opens the cache and looks a root up by any of its names; verb is for the error.
func (a *app) find(verb, name string) (*cache.Store, cache.Ref, error) {
	store, err := a.existingStore()
	if err != nil {
		return nil, cache.Ref{}, err
	}
	ref, err := a.cached(store, name)
	if err != nil {
		return nil, cache.Ref{}, a.noSuchRoot(verb, name, err)
	}
	return store, ref, nil
}

// noSuchRoot turns the cache's not found into one that names the verb, the name and what to do.
func (a *app) noSuchRoot(verb, name string, err error) error {
	if !errors.Is(err, cache.ErrNotFound) {
		return fmt.Errorf("%s %s: %w", verb, name, err)
	}
	if gone := (*goneRoot)(nil); errors.As(err, &gone) {
		return &notFound{fmt.Errorf("%s %s: %w", verb, name, gone)}
	}
	if digits := strings.TrimPrefix(name, "sha256:"); len(digits) < minDigestPrefix && strings.Trim(digits, "0123456789abcdef") == "" && strings.ContainsAny(digits, "0123456789") {
		return withHint(&notFound{fmt.Errorf("%s %s: no root of that name is in the cache", verb, name)}, "if it is the beginning of a digest, give at least %d digits of it", minDigestPrefix)
	}
	missing := &notFound{fmt.Errorf("%s %s: no root of that name is in the cache", verb, name)}
	if set, e := a.suites(); e == nil {
		if _, e := parseName(set, name); e == nil {
			return withHint(missing, "rootctl build %s", name)
		} else if unknown := (*suites.UnknownSuite)(nil); errors.As(e, &unknown) && len(unknown.Near) > 0 {
			return withHint(missing, "did you mean %s? rootctl ls lists what there is", strings.Join(unknown.Near, " or "))
		}
	}
	return withHint(missing, "rootctl ls lists what there is")
}
