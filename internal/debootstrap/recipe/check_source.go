package recipe

import (
	"fmt"
	"net/url"
	"sort"
	"strings"
)

func (p *parser) sources(r *Root, at string, t rootTable, left *int64) error {
	seen := map[string]bool{}
	for i, s := range t.Sources {
		key := fmt.Sprintf("%s.sources[%d]", at, i)
		u, err := url.Parse(s.URL)
		switch {
		case !isLower(s.Name) || seen[s.Name]:
			return p.fail(key+".name", "%q is no name of a source, or stands there twice", s.Name).or("lower-case letters, digits and -")
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.ContainsAny(s.URL, " \t\r\n[]"):
			return p.fail(key+".url", "%q: want an http or https URL without user and password", withoutUser(s.URL)).or("passwords belong into netrc or apt's auth.conf: docs/configuration.md")
		case s.Suite != "" && (strings.HasSuffix(s.Suite, "/") || s.Suite == "."):
			return p.fail(key+".suite", "%q: a flat archive, which has no dists/, is not read", s.Suite).or("ask its owner for an archive with dists/, or fetch its packages in a hook with network")
		case !isSuite(s.Suite):
			return p.fail(key+".suite", "%q is no suite", s.Suite).or("the word behind the URL in its line of sources.list")
		case s.Key == "":
			return p.fail(key, "it has no key").or(`key = "a file beside the recipe with the OpenPGP keys that sign it"`)
		}
		seen[s.Name] = true
		for _, list := range []struct {
			name  string
			words []string
		}{{"components", s.Components}, {"packages", s.Packages}} {
			if err := p.words(key+"."+list.name, list.words); err != nil {
				return err
			}
		}
		out := Source{Name: s.Name, URL: strings.TrimRight(s.URL, "/"), Suite: s.Suite, Components: s.Components, Packages: s.Packages}
		if len(out.Components) == 0 {
			out.Components = []string{"main"}
		}
		if out.Key, err = p.beside(key+".key", s.Key); err != nil {
			return err
		}
		if *left -= int64(len(out.Key)); *left < 0 {
			return p.fail(key, "the files and scripts of a root are larger than %d bytes", maxContent)
		}
		r.Sources = append(r.Sources, out)
	}
	sort.Slice(r.Sources, func(i, j int) bool { return r.Sources[i].Name < r.Sources[j].Name })
	return nil
}

// withoutUser hides what may be a password.
func withoutUser(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "it"
}
