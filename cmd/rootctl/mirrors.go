package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/suites"
)

// mirrorList orders what to try before the suite's own mirrors: --mirror, configuration, the host's.
func (s *selection) mirrorList(a *app, r debootstrap.Request) ([]debootstrap.Mirror, error) {
	var out []debootstrap.Mirror
	host := true
	for _, m := range s.mirrors {
		if m == "default" {
			host = false
			continue
		}
		pocket, base, err := s.cutPocket(r.Suite, m)
		if err != nil {
			return nil, err
		}
		if base, err = parseMirror(base); err != nil {
			return nil, fmt.Errorf("--mirror: %w", err)
		}
		out = append(out, debootstrap.Mirror{URL: base, Pocket: pocket, From: "--mirror"})
	}
	if s.offline || s.onlyMirror || s.at != "" {
		return out, nil
	}
	conf, err := a.configuredMirrors(r.Suite)
	if err != nil {
		return nil, err
	}
	out = append(out, conf...)
	if host {
		out = append(out, a.hostMirrors(r.Suite, r.Arch)...)
	}
	return out, nil
}

// cutPocket splits [POCKET=]URL. A pocket that nothing will be read from is a mistake, unless the root's
// sources.list is to name its mirror.
func (s *selection) cutPocket(suite suites.Suite, m string) (pocket, base string, err error) {
	pocket, base, ok := strings.Cut(m, "=")
	if !ok || strings.ContainsAny(pocket, "/:") {
		return "", m, nil
	}
	if _, ok := suite.Pocket(pocket); !ok {
		return "", "", withHint(&flagError{fmt.Errorf("--mirror for pocket %q: %s has none of that name", pocket, suite.Codename)}, "release, updates or security: --mirror security=URL")
	}
	read := pocket == "release" || slices.Contains(s.pockets, pocket) || pocket == "security" && s.checkUpdates
	if !read && !s.keepMirror {
		return "", "", withHint(&flagError{fmt.Errorf("--mirror for pocket %s: no package is taken from that pocket", pocket)}, "add --pocket %s, or --keep-mirror for the root's sources.list alone", pocket)
	}
	return pocket, base, nil
}

// parseMirror checks a mirror's URL and returns it without slashes at the end. It may hold a password, so
// no error repeats it.
func parseMirror(raw string) (string, error) {
	bad := func(hint string, args ...any) (string, error) {
		return "", withHint(&flagError{errors.New("not an http, https or file URL")}, hint, args...)
	}
	if strings.HasPrefix(raw, "/") || strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../") {
		path, err := filepath.Abs(raw)
		if err != nil {
			return "", err
		}
		return bad("a folder of this machine is written as %s", (&url.URL{Scheme: "file", Path: path}).String())
	}
	const example = "for example http://mirror.example.org/ubuntu or file:///srv/mirror"
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return bad(example)
	case u.Scheme == "file" && (u.Host == "" || u.Host == "localhost") && u.User == nil && strings.HasPrefix(u.Path, "/"):
		return strings.TrimRight("file://"+u.EscapedPath(), "/"), nil
	case u.Scheme == "file":
		return bad("a file URL names a folder of this machine: file:///srv/mirror")
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
		return u.Scheme + strings.TrimRight(raw[len(u.Scheme):], "/"), nil
	}
	return bad(example)
}

// hostMirrors are the mirrors of the host's own apt sources for the suite's distribution.
func (a *app) hostMirrors(s suites.Suite, arch string) []debootstrap.Mirror {
	var out []debootstrap.Mirror
	if !a.ofFamily(s) {
		return nil
	}
	add := func(pocket string) {
		for _, u := range archive.HostMirrors(os.DirFS("/"), s.Family, pocket, arch) {
			out = append(out, debootstrap.Mirror{URL: u, Pocket: pocket, From: "host's apt sources"})
		}
	}
	add("release")
	for _, p := range s.Pockets {
		add(p.Name)
	}
	return out
}

// ofFamily says whether a suite lies on the mirrors of its family: one of a user's own that is signed by
// other keys (Kali, Devuan) is only made as the family's are.
func (a *app) ofFamily(s suites.Suite) bool {
	if suites.Brought(s.Codename) {
		return true
	}
	set, err := a.suites()
	if err != nil {
		return false
	}
	newest, ok := set.Defaults(s.Family)
	return ok && slices.ContainsFunc(s.Keyrings, func(k string) bool { return slices.Contains(newest.Keyrings, k) })
}
