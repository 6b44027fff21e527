// Package lockfile reads and writes lock files: the Locks of some roots with the requests that led to
// them, as JSON that is the same bytes for the same state of the archives, whoever wrote it, when, and
// from which mirror. A lock file is input like any other: Decode believes nothing that it says.
package lockfile

import (
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/suites"
)

// Schema is the number of the form of the file. A file of another schema is refused.
const Schema = 1

// DefaultName is the file's name where none is given.
const DefaultName = "rootctl.lock"

// File is a lock file.
type File struct {
	Schema int             `json:"schema"`
	Roots  map[string]Root `json:"roots"` // by name: Name's, unless the writer knows a better one
}

// Root is what one root is made of, and what was asked for.
type Root struct {
	Suite    string    `json:"suite"` // codename
	Variant  string    `json:"variant"`
	Arch     string    `json:"arch"`
	Request  Request   `json:"request"`
	Releases []Release `json:"releases"`
	Packages []Package `json:"packages"` // in the order of the index
	// Paragraphs are the packages' own in the index, by name, in lines: they become part of the root.
	Paragraphs map[string][]string `json:"paragraphs"`
	Files      []Written           `json:"files,omitempty"`
	Merged     bool                `json:"merged"`
	Staged     bool                `json:"staged,omitempty"`
	Rules      suites.Rules        `json:"rules"`
	Epoch      string              `json:"epoch"` // "auto", or seconds since 1970
	// What a recipe adds, by digest: the contents stay in the recipe.
	Added     []Added `json:"added,omitempty"`
	Hooks     []Hook  `json:"hooks,omitempty"`
	CacheSalt string  `json:"cache_salt,omitempty"`
}

// Request is what a root's suite, variant and architecture leave open. Mirrors are no part of it.
type Request struct {
	Pockets    []string       `json:"pockets,omitempty"` // beside release
	Components []string       `json:"components"`
	Include    []string       `json:"include,omitempty"`
	Exclude    []string       `json:"exclude,omitempty"`
	At         string         `json:"at,omitempty"`      // YYYYMMDDTHHMMSSZ
	Keyring    []cache.Digest `json:"keyring,omitempty"` // of the keys given in the place of the suite's
	KeepMirror bool           `json:"keep_mirror,omitempty"`
	NoVerify   bool           `json:"no_verify,omitempty"`
	Sources    []Source       `json:"sources,omitempty"`
}

// Source is an archive beside the suite's.
type Source struct {
	Name       string       `json:"name"`
	URL        string       `json:"url"`
	Suite      string       `json:"suite"`
	Components []string     `json:"components"`
	Packages   []string     `json:"packages,omitempty"`
	Key        cache.Digest `json:"key"` // of the file of keys
}

// Added is a file of a recipe's.
type Added struct {
	Path   string       `json:"path"`
	Mode   string       `json:"mode"` // four octal digits
	Owner  string       `json:"owner"`
	SHA256 cache.Digest `json:"sha256"`
}

// Hook is a script of a recipe's.
type Hook struct {
	When    string       `json:"when"`
	Name    string       `json:"name"` // for people
	SHA256  cache.Digest `json:"sha256"`
	Env     cache.Digest `json:"env"` // of its variables
	Network string       `json:"network"`
}

// OfRecipe says that the root cannot be resolved or built without the recipe that it was locked from.
func (r Root) OfRecipe() bool {
	return len(r.Added)+len(r.Hooks)+len(r.Request.Sources) > 0 || r.CacheSalt != ""
}

// Release is the signed file that a pocket's packages were chosen by.
type Release struct {
	Pocket     string       `json:"pocket"`
	Suite      string       `json:"suite"`
	Origin     string       `json:"origin,omitempty"`
	Codename   string       `json:"codename,omitempty"`
	Date       time.Time    `json:"date"`
	Digest     cache.Digest `json:"sha256"`            // of the text that was signed
	Signers    []string     `json:"signers,omitempty"` // fingerprints of keys, sorted
	Unverified bool         `json:"unverified,omitempty"`
}

// Package is one .deb.
type Package struct {
	Name     string       `json:"name"`
	Version  string       `json:"version"`
	Arch     string       `json:"arch"`
	Pocket   string       `json:"pocket"`
	Path     string       `json:"path"` // below a mirror
	Size     int64        `json:"size"`
	SHA256   cache.Digest `json:"sha256"`
	Required bool         `json:"required,omitempty"`
}

// Written is a file that is written into the root beside the packages.
type Written struct {
	Path    string `json:"path"`
	Mode    string `json:"mode"` // four octal digits
	Content string `json:"content"`
}

// Name is what a root is called in a file: SUITE[-VARIANT]:ARCH, the same on every host.
func Name(suite, variant, arch string) string {
	if variant != "" && variant != "minbase" {
		suite += "-" + variant
	}
	return suite + ":" + arch
}

// Names are those of the file's roots, sorted.
func (f File) Names() []string {
	var names []string
	for n := range f.Roots {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Find returns the name of a root by the name it has, with or without :ARCH: host is the one meant when
// there are roots of several, and the only one there is when not.
func (f File) Find(name, host string) (string, bool) {
	for _, n := range []string{name, name + ":" + host} {
		if _, ok := f.Roots[n]; ok {
			return n, true
		}
	}
	var found []string
	for n := range f.Roots {
		if strings.HasPrefix(n, name+":") {
			found = append(found, n)
		}
	}
	if len(found) != 1 {
		return "", false
	}
	return found[0], true
}
