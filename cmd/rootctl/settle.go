package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/suites"
)

// asksFor says whether a name that no suite has may be one that a mirror knows: the user named a mirror.
func (s *selection) asksFor(err error) bool {
	var unknown *suites.UnknownSuite
	return errors.As(err, &unknown) && len(s.mirrors) > 0 && !s.offline
}

// settle asks the archive what the name of a request means where rootctl's own table cannot know: a role
// (stable) moves on, and an unknown suite is judged by its Release. err is what the request ended with.
func (a *app) settle(ctx context.Context, store *cache.Store, sel *selection, set *suites.Set, name string,
	req debootstrap.Request, err error) (debootstrap.Request, error) {
	if req.Tag != "" { // a recipe's: it names its suite
		return req, err
	}
	word := suiteWord(set, name)
	switch {
	case err != nil && sel.asksFor(err):
		su, err := a.identified(ctx, store, sel, set, name, word, err)
		if err != nil {
			return req, err
		}
		if set, err = set.With(su); err != nil {
			return req, err
		}
		return sel.request(a, set, name)
	case err == nil && word == req.Suite.Role:
		su, err := a.roleHolder(ctx, store, set, req)
		if err != nil {
			return req, err
		}
		if set, err = set.With(su); err != nil {
			return req, err
		}
		return sel.request(a, set, su.Codename+strings.TrimPrefix(name, word))
	}
	return req, err
}

// identify reads the verified Release of a suite by any name.
func (a *app) identify(ctx context.Context, store *cache.Store, req debootstrap.Request) (debootstrap.Identity, error) {
	set, err := a.suites()
	if err != nil {
		return debootstrap.Identity{}, err
	}
	client, err := a.client()
	if err != nil {
		return debootstrap.Identity{}, err
	}
	b := debootstrap.Builder{Store: store, Client: client, Suites: set, Now: a.now, Log: a.log()}
	req.Pockets, req.Components, req.CheckUpdates = nil, nil, false
	req.Suite.Pockets, req.Suite.Archives, req.Suite.EOL, req.Suite.Archived = nil, nil, "", false
	return b.Identify(ctx, req)
}

// roleHolder is the suite that holds a role now, by the archive's signed word, else by what it said last,
// else by rootctl's table.
func (a *app) roleHolder(ctx context.Context, store *cache.Store, set *suites.Set, req debootstrap.Request) (suites.Suite, error) {
	table, role := req.Suite, req.Suite.Role
	say := func(su suites.Suite, why string) (suites.Suite, error) {
		a.say("%s is %s (%s)%s", role, su.Codename, strings.TrimSuffix(su.Title, " ("+su.Codename+")"), why)
		return su, nil
	}
	var id debootstrap.Identity
	err := error(archive.ErrOffline)
	if !req.Offline {
		asked := req
		asked.Suite.Codename = role
		id, err = a.identify(ctx, store, asked)
	}
	switch {
	case err == nil:
		if req.At.IsZero() { // who it was once is no news of who it is
			if err := debootstrap.RememberRole(store, table.Family, role, id); err != nil {
				return table, err
			}
		}
		su, err := knownOr(set, id.Codename, table.Family)
		if err != nil {
			return table, fmt.Errorf("find out who is %s: %w", role, err)
		}
		return say(su, "")
	case !req.At.IsZero():
		return table, withHint(fmt.Errorf("find out who was %s: %w", role, err), "%s", cmp.Or(carriedHint(err), "name the suite by its codename"))
	case errors.Is(err, archive.ErrNotTrusted), req.Fresh, !errors.Is(err, archive.ErrOffline) && !errors.Is(err, archive.ErrNotFound):
		return table, fmt.Errorf("find out who is %s: %w", role, err)
	}
	why := "no mirror answers"
	switch {
	case req.Offline:
		why = "no mirror was asked"
	case !errors.Is(err, archive.ErrOffline):
		why = "the mirror does not say"
	}
	if last, ok := debootstrap.LastRole(store, table.Family, role); ok {
		if su, err := knownOr(set, last.Codename, table.Family); err == nil {
			return say(su, fmt.Sprintf(" as of %s: %s", last.Date.UTC().Format(time.DateOnly), why))
		}
	}
	return say(table, " by rootctl's own table: "+why)
}

// knownOr is the suite of a codename, or if there is none one made of its family's defaults.
func knownOr(set *suites.Set, codename, family string) (suites.Suite, error) {
	if su, err := set.Lookup(codename); err == nil {
		return su, nil
	}
	su, ok := set.Defaults(family)
	if !ok {
		return su, fmt.Errorf("no suite of the family %s is known", family)
	}
	title := map[string]string{"debian": "Debian", "ubuntu": "Ubuntu"}[family]
	old := su.Codename
	su.Codename, su.Title, su.Version, su.Role, su.Aliases, su.EOL = codename, title+" ("+codename+")", "", "", nil, ""
	su.Pockets = slices.Clone(su.Pockets)
	for i, p := range su.Pockets {
		su.Pockets[i].Suite = codename + strings.TrimPrefix(p.Suite, old)
	}
	return su, nil
}

// identified makes a suite that no file describes of its family's defaults: the family is the Origin that
// its Release, signed by a trusted key, states.
func (a *app) identified(ctx context.Context, store *cache.Store, sel *selection, set *suites.Set, name, word string, unknown error) (suites.Suite, error) {
	probe, err := knownOr(set, word, "debian")
	if err != nil {
		return probe, unknown
	}
	probing, err := set.With(probe)
	if err != nil {
		return probe, unknown // no name that a suite could have
	}
	req, err := sel.request(a, probing, name)
	if err != nil {
		return probe, err
	}
	req.OnlyThese = true
	req.Mirrors = slices.DeleteFunc(req.Mirrors, func(m debootstrap.Mirror) bool {
		return m.From != "--mirror" || m.Pocket != "" && m.Pocket != "release"
	})
	var keys [][]byte
	for _, family := range []string{"debian", "ubuntu"} {
		su, _ := set.Defaults(family)
		files, err := set.Keyring(su)
		if err != nil {
			return probe, err
		}
		keys = append(keys, files...)
		if slices.Contains(sel.mirrors, "default") {
			for _, u := range su.MirrorsFor(req.Arch) {
				req.Mirrors = append(req.Mirrors, debootstrap.Mirror{URL: u, From: "--mirror"})
			}
		}
	}
	if req.Keyring == nil {
		req.Keyring = keys
	}
	id, err := a.identify(ctx, store, req)
	if errors.Is(err, archive.ErrNotFound) && !errors.Is(err, archive.ErrOffline) {
		return probe, withHint(fmt.Errorf("%w, and the mirror has none: %w", unknown, err), "rootctl suites lists the names known")
	}
	if err != nil {
		return probe, withHint(fmt.Errorf("%w; asking the mirror: %w", unknown, err), "%s", hintOf(err))
	}
	family := strings.ToLower(id.Origin)
	if family != "debian" && family != "ubuntu" {
		return probe, withHint(&notFound{fmt.Errorf("%s at %s is of %q, and how to make its roots is not known", word, id.Mirror, id.Origin)},
			"describe it in a file of your own: docs/suites.md")
	}
	su, err := knownOr(set, word, family)
	if err != nil {
		return su, err
	}
	defaults, _ := set.Defaults(family)
	a.say("rootctl's table has no %s: by its Release at %s it is %s's, made as %s is", word, id.Mirror, id.Origin, defaults.Codename)
	return su, nil
}
