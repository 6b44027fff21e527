package lockfile

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

// Diff is what another root differs in from one of a file.
type Diff struct {
	Name    string   `json:"name"`
	Current bool     `json:"current"` // nothing that would be installed differs
	Added   []Member `json:"added,omitempty"`
	Removed []Member `json:"removed,omitempty"`
	Changed []Change `json:"changed,omitempty"`
	Other   []string `json:"other,omitempty"` // a phrase each: what differs beside packages
}

// Member is a package of one of the two.
type Member struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Change is a package of both.
type Change struct {
	Name  string `json:"name"`
	Old   string `json:"old"`
	New   string `json:"new"`
	Older bool   `json:"older,omitempty"` // the new version is the older one
}

// Compare says what would be another in a root of now than in a root of was: by package, sorted by name.
// Dates and signatures of the archive are no difference.
func Compare(name string, was, now Root) (Diff, error) {
	d := Diff{Name: name}
	a, err := was.Lock()
	if err != nil {
		return d, err
	}
	b, err := now.Lock()
	if err != nil {
		return d, err
	}
	if d.Current = debootstrap.KeyOf(a) == debootstrap.KeyOf(b); d.Current {
		return d, nil
	}
	old := map[string]Package{}
	for _, p := range was.Packages {
		old[p.Name] = p
	}
	for _, p := range now.Packages {
		o, ok := old[p.Name]
		delete(old, p.Name)
		order, _ := version.Compare(p.Version, o.Version) // both have been judged
		switch {
		case !ok:
			d.Added = append(d.Added, Member{p.Name, p.Version})
		case o.Version != p.Version:
			d.Changed = append(d.Changed, Change{p.Name, o.Version, p.Version, order < 0})
		case o.SHA256 != p.SHA256:
			d.Changed = append(d.Changed, Change{Name: p.Name, Old: o.Version, New: p.Version})
		case !slices.Equal(was.Paragraphs[p.Name], now.Paragraphs[p.Name]) || o.Required != p.Required:
			d.Other = append(d.Other, "what the index says of "+p.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		d.Removed = append(d.Removed, Member{name, old[name].Version})
	}
	slices.SortFunc(d.Added, func(x, y Member) int { return cmp.Compare(x.Name, y.Name) })
	slices.SortFunc(d.Changed, func(x, y Change) int { return cmp.Compare(x.Name, y.Name) })
	d.others(was, now)
	return d, nil
}

// others notes what differs beside the packages.
func (d *Diff) others(was, now Root) {
	slices.Sort(d.Other)
	files := map[string]Written{}
	for _, f := range was.Files {
		files[f.Path] = f
	}
	for _, f := range now.Files {
		if files[f.Path] != f {
			d.Other = append(d.Other, "the text of "+f.Path)
		}
		delete(files, f.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		d.Other = append(d.Other, "no "+path+" any more")
	}
	d.recipe(was, now)
	if !reflect.DeepEqual(was.Rules, now.Rules) || was.Merged != now.Merged || was.Staged != now.Staged {
		d.Other = append(d.Other, "how the suite's roots are made")
	}
	if was.Epoch != now.Epoch {
		d.Other = append(d.Other, "the latest time that a file may have")
	}
	if len(d.Added)+len(d.Removed)+len(d.Changed)+len(d.Other) == 0 {
		d.Other = []string{"the order of the index"}
	}
}

// recipe notes what differs of a recipe's files and hooks.
func (d *Diff) recipe(was, now Root) {
	files := map[string]Added{}
	for _, f := range was.Added {
		files[f.Path] = f
	}
	for _, f := range now.Added {
		if old, ok := files[f.Path]; !ok {
			d.Other = append(d.Other, "file "+f.Path+" is new")
		} else if old != f {
			d.Other = append(d.Other, "file "+f.Path)
		}
		delete(files, f.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		d.Other = append(d.Other, "no file "+path+" any more")
	}
	for i := range max(len(was.Hooks), len(now.Hooks)) {
		switch {
		case i >= len(was.Hooks):
			d.Other = append(d.Other, "hook "+now.Hooks[i].Name+" is new")
		case i >= len(now.Hooks):
			d.Other = append(d.Other, "no hook "+was.Hooks[i].Name+" any more")
		case was.Hooks[i] != now.Hooks[i]:
			d.Other = append(d.Other, "hook "+now.Hooks[i].Name)
		}
	}
	if was.CacheSalt != now.CacheSalt {
		d.Other = append(d.Other, "the cache-salt")
	}
}

// Text writes the difference for people, a package a line.
func (d Diff) Text(w io.Writer) error {
	if d.Current {
		_, err := fmt.Fprintf(w, "%s is current\n", d.Name)
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d changed, %d added, %d removed\n", d.Name, len(d.Changed), len(d.Added), len(d.Removed))
	for _, c := range d.Changed {
		note := ""
		switch {
		case c.Older:
			note = " (older)"
		case c.Old == c.New:
			note = " (other bytes)"
		}
		fmt.Fprintf(&b, "  ~ %s %s -> %s%s\n", c.Name, c.Old, c.New, note)
	}
	for _, m := range d.Added {
		fmt.Fprintf(&b, "  + %s %s\n", m.Name, m.Version)
	}
	for _, m := range d.Removed {
		fmt.Fprintf(&b, "  - %s %s\n", m.Name, m.Version)
	}
	for _, o := range d.Other {
		fmt.Fprintf(&b, "  ! %s\n", o)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
