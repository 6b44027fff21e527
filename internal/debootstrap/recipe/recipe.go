// Package recipe reads rootctl.toml: which roots a project wants, with the files and scripts that lie beside it.
// What it gives is plain data that was judged; nothing is built here.
package recipe

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultName is the file's name where none is given.
const DefaultName = "rootctl.toml"

// Moments at which a hook runs.
const (
	Setup     = "setup"     // the required packages' files are there, and none of their scripts has run
	Essential = "essential" // the required packages are configured
	Customize = "customize" // all packages are
)

// Bounds of what a recipe may hold.
const (
	maxRecipe  = 1 << 20 // bytes of the file itself
	maxFile    = 1 << 20 // bytes of a file or script
	maxContent = 8 << 20 // bytes of all of a root's
	maxRoots   = 200
	maxList    = 2000 // entries of a list
)

// Recipe is a file's roots, each after the one that it extends.
type Recipe struct {
	Path  string // of the file
	Roots []Root
}

// Root is one root that is asked for.
type Root struct {
	Name      string // of its table
	Tag       string // what it is called in the cache
	Suite     string // as on the command line: a codename, role or alias
	Variant   string
	Arch      string // "" is the host's
	Extends   string // Name of the root that this one is built on, "" if none
	Include   []string
	Exclude   []string
	Pockets   []string
	Comps     []string // archive components, none is the suite's
	Network   string   // of run, "" if it is not said
	CacheSalt string
	Files     []File
	Hooks     []Hook
	Sources   []Source

	file   string // it stands in
	places places
}

// Wrong is an Error at one of the root's keys, for what only those who use a recipe can judge.
func (r *Root) Wrong(key, what, next string) *Error {
	key = "root." + r.Name + "." + key
	at := r.places.at(key)
	return &Error{File: r.file, Line: at.line, Col: at.column, Key: key, What: what, Next: next}
}

// File is one that is added to a root.
type File struct {
	Path    string // inside, absolute
	Mode    uint32 // permission bits
	Owner   string // USER:GROUP, each a name of the root's or a number
	Content []byte
}

// Hook is a script that runs in the root.
type Hook struct {
	When    string
	Name    string // for people: its file, or what of the table it is
	Script  []byte // with its #! line
	Env     []string
	Network string // none, nat or host
}

// Source is an archive beside the suite's.
type Source struct {
	Name       string
	URL        string
	Suite      string
	Components []string
	Packages   []string // the only ones that come from it, if any are named
	Key        []byte   // the OpenPGP keys that sign it
}

// Find returns a root by the name it has in the file or in the cache.
func (r *Recipe) Find(name string) (*Root, bool) {
	if r == nil {
		return nil, false
	}
	for _, match := range []func(Root) bool{func(x Root) bool { return x.Tag == name }, func(x Root) bool { return x.Name == name }} {
		if i := slices.IndexFunc(r.Roots, match); i >= 0 {
			return &r.Roots[i], true
		}
	}
	return nil, false
}

// Names are the roots' tags in their order.
func (r *Recipe) Names() []string {
	names := make([]string, len(r.Roots))
	for i, x := range r.Roots {
		names[i] = x.Tag
	}
	return names
}

// Error is something in a recipe that cannot be meant, and where it stands.
type Error struct {
	File      string
	Line, Col int // from 1; 0 if not known
	Key       string
	What      string
	Next      string
}

func (e *Error) Error() string {
	at := e.File
	if e.Line > 0 {
		at = fmt.Sprintf("%s:%d:%d", e.File, e.Line, max(1, e.Col))
	}
	return at + ": " + strings.TrimPrefix(e.Key+": "+e.What, ": ")
}

// Hint names the next step.
func (e *Error) Hint() string { return cmp.Or(e.Next, "docs/recipes.md lists what may stand there") }

// Read reads and judges the recipe at path, and the files beside it that it names.
func Read(path string) (*Recipe, error) {
	dir, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.close()
	text, err := dir.read(filepath.Base(path), maxRecipe)
	if err != nil {
		return nil, err
	}
	return parse(path, text, dir.read)
}
