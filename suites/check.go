package suites

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// fault is something in a suite's file that later steps could not work with.
type fault struct {
	near string // what to look for in the file to find the line
	text string
}

func (f *fault) Error() string { return f.text }

func faultf(near, format string, args ...any) error {
	return &fault{near, fmt.Sprintf(format, args...)}
}

// check refuses what later steps rely on; values reach URLs, paths and file names.
func (s *Suite) check() error {
	for _, n := range s.Names() {
		if !validName(n) {
			return faultf(n, "suite name %q: want lower-case letters, digits and .+-", n)
		}
	}
	switch {
	case s.Family != "debian" && s.Family != "ubuntu":
		return faultf("family", "family %q: want debian or ubuntu", s.Family)
	case s.Title == "":
		return faultf("title", "title is missing")
	case len(s.Keyrings) == 0:
		return faultf("keyrings", "keyrings is empty")
	case len(s.Mirrors) == 0:
		return faultf("[mirrors]", "mirrors is empty")
	case s.Rules.Merged != "yes" && s.Rules.Merged != "no":
		return faultf("merged", "rules.merged %q: want yes or no", s.Rules.Merged)
	case s.Rules.RootOrderMod != 8191 && s.Rules.RootOrderMod != 65521:
		return faultf("root-order-mod", "rules.root-order-mod %d: want 8191 or 65521", s.Rules.RootOrderMod)
	case s.Role == s.Codename:
		return faultf("role", "role %q: want a name like stable", s.Role)
	}
	if s.EOL != "" {
		if _, err := time.Parse(time.DateOnly, s.EOL); err != nil {
			return faultf("eol", "eol %q: want YYYY-MM-DD", s.EOL)
		}
	}
	for _, k := range s.Keyrings {
		if k == "" || strings.ContainsAny(k, "/\\") || k[0] == '.' {
			return faultf("keyrings", "keyring %q: want the name of a file in keyrings/", k)
		}
	}
	for _, c := range s.Components {
		if !validName(c) {
			return faultf("components", "component %q: not a component's name", c)
		}
	}
	for _, m := range []map[string][]string{s.Mirrors, s.Archives} {
		if err := checkMirrors(m); err != nil {
			return err
		}
	}
	if err := CheckSnapshot(s.Snapshot); s.Snapshot != "" && err != nil {
		return faultf("snapshot", "snapshot %q: %s", s.Snapshot, err)
	}
	return s.checkPockets()
}

// CheckSnapshot says what is wrong with the pattern of a snapshot service's URLs.
func CheckSnapshot(pattern string) error {
	u, err := url.Parse(strings.NewReplacer("{archive}", "a", "{time}", "t").Replace(pattern))
	_, rest, _ := strings.Cut(pattern, "://")
	host, _, _ := strings.Cut(rest, "/")
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.ContainsAny(pattern, " \t\r\n[]"):
		return errors.New("want a plain http or https URL")
	case u.RawQuery != "" || u.Fragment != "" || strings.ContainsAny(u.Path, "{}"):
		return errors.New("want scheme, host and path, and of names in braces {archive} and {time}")
	case !strings.Contains(pattern, "{time}") || strings.Contains(host, "{"):
		return errors.New("want {time} in its path: http://snapshot.example.org/{archive}/{time}")
	}
	return nil
}

func (s *Suite) checkPockets() error {
	seen := map[string]bool{"release": true}
	for _, p := range s.Pockets {
		if !validName(p.Name) || !validName(strings.TrimSuffix(p.Suite, "/updates")) {
			return faultf(fmt.Sprintf("%q", p.Name), "pocket %q of suite %q: not a name", p.Name, p.Suite)
		}
		if seen[p.Name] {
			return faultf(fmt.Sprintf("%q", p.Name), "pocket %q stands twice or is release", p.Name)
		}
		seen[p.Name] = true
		for _, m := range []map[string][]string{p.Mirrors, p.Archives} {
			if err := checkMirrors(m); err != nil {
				return fmt.Errorf("pocket %q: %w", p.Name, err)
			}
		}
	}
	return nil
}

func checkMirrors(m map[string][]string) error {
	for _, arch := range slices.Sorted(maps.Keys(m)) {
		if !validName(arch) || len(m[arch]) == 0 {
			return faultf(arch, "mirrors of %q: no such architecture, or none given", arch)
		}
		for _, u := range m[arch] {
			p, err := url.Parse(u)
			if err != nil || p.Host == "" || (p.Scheme != "http" && p.Scheme != "https") || p.User != nil || strings.ContainsAny(u, " \t\r\n[]") {
				return faultf(u, "a mirror of %s is not a plain http or https URL", arch)
			}
		}
	}
	return nil
}

func validName(n string) bool {
	for i, c := range []byte(n) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || i > 0 && strings.IndexByte(".+-", c) >= 0 {
			continue
		}
		return false
	}
	return n != "" && len(n) <= 64 && !strings.Contains(n, "..")
}

// placed adds the line of what is wrong, if it stands in the file at all.
func placed(b []byte, err error) error {
	var f *fault
	if !errors.As(err, &f) || f.near == "" {
		return err
	}
	n := 0
	for line := range bytes.Lines(b) {
		n++
		line, _, _ = bytes.Cut(line, []byte("#"))
		if bytes.Contains(line, []byte(f.near)) {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return err
}
