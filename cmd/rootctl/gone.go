package main

import (
	"cmp"
	"encoding/json"
	"fmt"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// goneRoot is a name whose root is not there any more: it was found damaged and taken out of use, or cache gc --all, which takes
// roots before their names, was killed or is at it.
type goneRoot struct {
	name  string // as it was given
	ref   cache.Ref
	again string // how it is made again
}

func (a *app) gone(name string, ref cache.Ref) *goneRoot {
	return &goneRoot{name, ref, a.againHint(ref)}
}

func (e *goneRoot) Error() string {
	if e.ref.Name != "" && e.ref.Name != e.name {
		return fmt.Sprintf("%s's root %s is no longer in the cache", e.ref.Name, e.ref.Root.Short())
	}
	return fmt.Sprintf("its root %s is no longer in the cache", e.ref.Root.Short())
}

func (e *goneRoot) Unwrap() error { return cache.ErrNotFound }

func (e *goneRoot) Hint() string { return e.again }

// againHint is how the root of a name is made again.
func (a *app) againHint(ref cache.Ref) string {
	if set, err := a.suites(); err == nil {
		if _, err := parseName(set, ref.Name); err == nil {
			return "build it again: rootctl build " + ref.Name
		}
	}
	var info debootstrap.Info
	_ = json.Unmarshal(ref.Info, &info) // what it does not say is not known
	switch {
	case info.Imported != nil:
		from := info.Imported.From
		if from == "" {
			from = "FILE"
		}
		return fmt.Sprintf("import it again: rootctl import %s --tag %s", from, ref.Name)
	case info.Committed != nil:
		return fmt.Sprintf("it was made in container %s: make the changes again in rootctl run --keep %s, then rootctl commit",
			info.Committed.Container, cmp.Or(info.Committed.Name, info.Committed.Parent.Short()))
	case info.Locked:
		return fmt.Sprintf("build it again: rootctl build --lock FILE --tag %s", ref.Name)
	}
	return fmt.Sprintf("build it again: rootctl build %s --tag %s, with the other flags it was built with", cmp.Or(info.Suite, "SUITE"), ref.Name)
}
