package debootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

func (i indexInput) name() string {
	name := i.Component + "/" + i.Arch
	if i.Pocket != "release" {
		name = i.Pocket + " " + name
	}
	return name
}

func presence(what string, was, now bool) string {
	switch {
	case !was:
		return what + " added"
	case !now:
		return what + " gone"
	}
	return what + " changed"
}

func firstOf[T any](a, b *T) T {
	if a != nil {
		return *a
	}
	return *b
}

// compareNamed compares two lists of things with names, in the order of the names; what is nil is not there.
func compareNamed[T comparable](field string, was, now json.RawMessage, name func(T) string, compare func(a, b *T) Change) []Change {
	var a, b []T
	if json.Unmarshal(was, &a) != nil && was != nil || json.Unmarshal(now, &b) != nil && now != nil {
		return []Change{{Input: field, Text: field + " changed"}}
	}
	before, after := make(map[string]T), make(map[string]T)
	names := make(map[string]bool)
	for _, x := range a {
		before[name(x)], names[name(x)] = x, true
	}
	for _, x := range b {
		after[name(x)], names[name(x)] = x, true
	}
	var out []Change
	for _, n := range slices.Sorted(maps.Keys(names)) {
		x, wasThere := before[n]
		y, isThere := after[n]
		if wasThere && isThere && x == y {
			continue
		}
		var px, py *T
		if wasThere {
			px = &x
		}
		if isThere {
			py = &y
		}
		c := compare(px, py)
		c.Input, c.Name = field, n
		out = append(out, c)
	}
	if len(out) == 0 {
		out = append(out, Change{Input: field, Text: field + " in another order"})
	}
	return out
}

func comparePackage(a, b *packageInput) Change {
	p := firstOf(b, a)
	switch {
	case a == nil:
		return Change{Now: b.Version, Text: fmt.Sprintf("%s %s added", p.Name, p.Version)}
	case b == nil:
		return Change{Was: a.Version, Text: fmt.Sprintf("%s %s gone", p.Name, p.Version)}
	}
	c := Change{Was: a.Version, Now: b.Version}
	switch {
	case a.Version != b.Version:
		c.Text = fmt.Sprintf("%s %s -> %s", p.Name, a.Version, b.Version)
	case a.Arch != b.Arch:
		c.Text = fmt.Sprintf("%s %s: %s -> %s", p.Name, p.Version, a.Arch, b.Arch)
	case a.SHA256 != b.SHA256:
		c.Text = fmt.Sprintf("%s %s: other bytes of the same version", p.Name, p.Version)
	case a.Required != b.Required:
		c.Text = fmt.Sprintf("%s %s: required %v -> %v", p.Name, p.Version, a.Required, b.Required)
	default:
		c.Text = fmt.Sprintf("%s %s: its paragraph in the index changed", p.Name, p.Version)
	}
	return c
}

// countNewer adds to a changed index how many of the packages taken from it are newer than before.
func (c *Change) countNewer(before []LockPackage, lock *Lock) {
	if c.Input != "indices" || c.Was == "" || c.Now == "" || before == nil || lock == nil {
		return
	}
	old := make(map[string]string, len(before))
	for _, p := range before {
		old[p.Name] = p.Version
	}
	newer, of := 0, 0
	for _, p := range lock.Packages {
		if p.indexName(lock.Arch) != c.Name {
			continue
		}
		of++
		if was, ok := old[p.Name]; ok {
			if n, err := version.Compare(p.Version, was); err == nil && n > 0 {
				newer++
			}
		}
	}
	c.Text += fmt.Sprintf(": %d of %d packages newer", newer, of)
}

// indexName names the index a package was taken from as indexInput.name does: pools are divided by component.
func (p *LockPackage) indexName(arch string) string {
	component := "main"
	if parts := strings.Split(p.Path, "/"); len(parts) > 2 && parts[0] == "pool" {
		component = parts[1]
	}
	return indexInput{Pocket: p.Pocket, Component: component, Arch: arch}.name()
}
