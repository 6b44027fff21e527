package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/suites"
)

// config is the user's file config.toml:
//
//	ca-file = "/etc/ssl/ours.pem"  # certificate authorities, beside the system's; a relative path starts at the file's folder
//	[mirrors]                      # tried in this order, before the host's own and the suite's
//	bionic = ["http://..."]        # by suite,
//	debian = ["http://..."]        # or by family
//	[snapshots]                    # services that keep an archive's past
//	debian = "https://.../{archive}/{time}"
//	[cache]                        # after a build, and "cache gc":
//	max-size = "20GB"              # the most it takes; "none"
//	max-age = "60d"                # how long a root without a name may be unused; "none"
//	from = "HOST/REPOSITORY"       # as --cache-from
//	to = "HOST/REPOSITORY"         # as --cache-to
//	insecure = "HOST:PORT,..."     # as --insecure; "loopback" is as --insecure alone
type config struct {
	CAFile    string              `toml:"ca-file"`
	Mirrors   map[string][]string `toml:"mirrors"`
	Snapshots map[string]string   `toml:"snapshots"`
	Cache     struct {
		MaxSize string `toml:"max-size"`
		MaxAge  string `toml:"max-age"`
		From    string `toml:"from"`
		To      string `toml:"to"`

		Insecure string `toml:"insecure"`
	} `toml:"cache"`
}

// configFiles are read in this order; a later file's entry replaces an earlier one's.
func (a *app) configFiles() []string {
	files := []string{"/etc/rootctl/config.toml"}
	if dir := a.getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return append(files, filepath.Join(dir, "rootctl", "config.toml"))
	}
	if home := a.getenv("HOME"); home != "" {
		return append(files, filepath.Join(home, ".config", "rootctl", "config.toml"))
	}
	return files
}

func (a *app) config() (config, error) {
	all := config{Mirrors: map[string][]string{}, Snapshots: map[string]string{}}
	for _, name := range a.configFiles() {
		data, err := readFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return all, withHint(fmt.Errorf("read configuration: %w", err), "%s is a text file that you can read, or none: docs/configuration.md", name)
		}
		var c config
		d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
		if err := d.Decode(&c); err != nil {
			return all, withHint(fmt.Errorf("read configuration %s: %w", name, tomlError(err)), "docs/configuration.md lists what may stand there")
		}
		if c.CAFile != "" {
			if all.CAFile = c.CAFile; !filepath.IsAbs(c.CAFile) {
				all.CAFile = filepath.Join(filepath.Dir(name), c.CAFile)
			}
		}
		if c.Cache.MaxSize != "" {
			all.Cache.MaxSize = c.Cache.MaxSize
		}
		if c.Cache.MaxAge != "" {
			all.Cache.MaxAge = c.Cache.MaxAge
		}
		all.Cache.From, all.Cache.To = cmp.Or(c.Cache.From, all.Cache.From), cmp.Or(c.Cache.To, all.Cache.To)
		all.Cache.Insecure = cmp.Or(c.Cache.Insecure, all.Cache.Insecure)
		for key, list := range c.Mirrors {
			all.Mirrors[key] = list
		}
		for key, pattern := range c.Snapshots {
			if err := suites.CheckSnapshot(pattern); err != nil {
				return all, withHint(&flagError{fmt.Errorf("configuration %s: [snapshots] %s: %w", name, key, err)}, "docs/lock.md has an example")
			}
			all.Snapshots[key] = pattern
		}
	}
	return all, nil
}

// tomlError says what is wrong and in which line.
func tomlError(err error) error {
	var strict *toml.StrictMissingError
	var at *toml.DecodeError
	switch {
	case errors.As(err, &strict) && len(strict.Errors) > 0:
		row, _ := strict.Errors[0].Position()
		key := strings.Join(strict.Errors[0].Key(), ".")
		if near := suites.Near(key, []string{"ca-file", "mirrors"}); len(near) > 0 {
			return fmt.Errorf("line %d: unknown setting %s; did you mean %s?", row, key, near[0])
		}
		return fmt.Errorf("line %d: unknown setting %s", row, key)
	case errors.As(err, &at):
		row, column := at.Position()
		switch text := at.Error(); {
		case strings.Contains(text, "into []string"):
			return fmt.Errorf(`line %d: want a list of URLs: ["http://..."]`, row)
		case strings.Contains(text, "of type string"), strings.Contains(text, "into string"):
			return fmt.Errorf("line %d: want a text in quotes", row)
		default:
			return fmt.Errorf("line %d column %d: %w", row, column, err)
		}
	}
	return err
}

func (a *app) configuredMirrors(s suites.Suite) ([]debootstrap.Mirror, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	if len(c.Mirrors) == 0 {
		return nil, nil
	}
	if err := a.checkMirrorKeys(c); err != nil {
		return nil, err
	}
	var out []debootstrap.Mirror
	add := func(key, pocket string) error {
		for _, raw := range c.Mirrors[key] {
			u, err := parseMirror(raw)
			if err != nil {
				return fmt.Errorf("configuration: [mirrors] %s: %w", key, err)
			}
			out = append(out, debootstrap.Mirror{URL: u, Pocket: pocket, From: "configuration"})
		}
		return nil
	}
	keys := []string{s.Codename}
	if len(c.Mirrors[s.Family]) > 0 && a.ofFamily(s) {
		keys = append(keys, s.Family)
	}
	for _, key := range keys {
		if err := add(key, ""); err != nil {
			return nil, err
		}
	}
	for _, p := range s.Pockets {
		if err := add(p.Suite, p.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// configuredSnapshot is the configuration's snapshot service for a suite: by suite, else by family.
func (a *app) configuredSnapshot(s suites.Suite) (string, error) {
	c, err := a.config()
	if err != nil || len(c.Snapshots) == 0 {
		return "", err
	}
	set, err := a.suites()
	if err != nil {
		return "", err
	}
	for key := range c.Snapshots {
		if _, err := set.Lookup(key); key != "debian" && key != "ubuntu" && err != nil {
			return "", withHint(fmt.Errorf("configuration: [snapshots] has %q, which is no family or suite", key), "names like debian or bionic; see rootctl suites")
		}
	}
	if pattern := c.Snapshots[s.Codename]; pattern != "" {
		return pattern, nil
	}
	return c.Snapshots[s.Family], nil
}

// checkMirrorKeys refuses a key of [mirrors] that nothing would ever look at.
func (a *app) checkMirrorKeys(c config) error {
	set, err := a.suites()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, s := range set.All() {
		known[s.Codename], known[s.Family] = true, true
		for _, p := range s.Pockets {
			known[p.Suite] = true
		}
	}
	for key := range c.Mirrors {
		if su, err := set.Lookup(key); !known[key] && err == nil {
			return withHint(fmt.Errorf("configuration: [mirrors] has %q, which moves or is another name", key), "did you mean %s?", su.Codename)
		}
		if !known[key] {
			return withHint(fmt.Errorf("configuration: [mirrors] has %q, which is no family, suite or pocket's suite", key), "names like debian, bionic or bookworm-security; see rootctl suites")
		}
	}
	return nil
}
