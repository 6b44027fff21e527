package lockfile

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap"
)

// isPath holds for suites of other archives, which may have upper-case letters.
func isPath(s string) bool { return isWord(strings.ToLower(s)) && path.Clean(s) == s }

// sources judges archives beside the suite's: their URLs are asked for packages, which their digests judge.
func (c checker) sources(r Root) error {
	seen := map[string]bool{}
	for i, s := range r.Request.Sources {
		at := fmt.Sprintf("request.sources[%d]", i)
		u, err := url.Parse(s.URL)
		switch {
		case !isWord(s.Name) || strings.ContainsAny(s.Name, "/.") || seen[s.Name]:
			return c.fail(at+".name", "%q is no name, or stands there twice", s.Name)
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !plain(s.URL) || strings.Contains(s.URL, " "):
			return c.fail(at+".url", "want an http or https URL without user and password")
		case !isPath(s.Suite):
			return c.fail(at+".suite", "%q is no name", s.Suite)
		case !s.Key.Valid():
			return c.fail(at+".key", "no SHA-256")
		case !slices.ContainsFunc(r.Releases, func(l Release) bool { return l.Pocket == "source-"+s.Name }):
			return c.fail(at+".name", "%s has no release", s.Name)
		}
		seen[s.Name] = true
		for n, word := range s.Components {
			if !isPath(word) {
				return c.fail(fmt.Sprintf("%s.components[%d]", at, n), "%q is no name", word)
			}
		}
		for n, name := range s.Packages {
			if !debootstrap.ValidPackageName(name) {
				return c.fail(fmt.Sprintf("%s.packages[%d]", at, n), "%q is no package's name", name)
			}
		}
	}
	return nil
}

// added judges what a recipe adds.
func (c checker) added(r Root) error {
	for i, f := range r.Added {
		at := fmt.Sprintf("added[%d]", i)
		user, group, two := strings.Cut(f.Owner, ":")
		switch {
		case len(f.Path) < 2 || f.Path[0] != '/' || path.Clean(f.Path) != f.Path || !plain(f.Path):
			return c.fail(at+".path", "%q is no absolute path in its shortest form", f.Path)
		case i > 0 && r.Added[i-1].Path >= f.Path:
			return c.fail(at+".path", "%s stands there twice, or not in order", f.Path)
		case !anyMode().MatchString(f.Mode):
			return c.fail(at+".mode", "%q: want 0644 or the like", f.Mode)
		case !two || !owner().MatchString(user) || !owner().MatchString(group):
			return c.fail(at+".owner", "%q: want USER:GROUP", f.Owner)
		case !f.SHA256.Valid():
			return c.fail(at+".sha256", "no SHA-256")
		}
	}
	moments := []string{debootstrap.HookSetup, debootstrap.HookEssential, debootstrap.HookCustomize}
	for i, h := range r.Hooks {
		at := fmt.Sprintf("hooks[%d]", i)
		switch {
		case !slices.Contains(moments, h.When) || i > 0 && slices.Index(moments, r.Hooks[i-1].When) > slices.Index(moments, h.When):
			return c.fail(at+".when", "%q: want %s, in this order", h.When, strings.Join(moments, ", "))
		case !plain(h.Name):
			return c.fail(at+".name", "want one line")
		case !h.SHA256.Valid() || !h.Env.Valid():
			return c.fail(at, "no SHA-256")
		case h.Network != "none" && h.Network != "nat" && h.Network != "host":
			return c.fail(at+".network", "%q: want none, nat or host", h.Network)
		case h.Network != "none" && r.CacheSalt == "":
			return c.fail(at+".network", "a hook with a network wants a cache_salt")
		}
	}
	if !plain(r.CacheSalt) {
		return c.fail("cache_salt", "want one line of at most 200 bytes")
	}
	return nil
}
