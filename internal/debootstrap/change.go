package debootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
)

// A Change is one difference between two inputs of a kind.
type Change struct {
	Input string `json:"input"`          // the field's name in the input: packages, build_epoch, ...
	Name  string `json:"name,omitempty"` // of the package, file or rule, the word of a list
	Was   string `json:"was,omitempty"`
	Now   string `json:"now,omitempty"`
	Text  string `json:"text"` // for people
}

// flagOf are the flags that set a field, as people know it.
var flagOf = map[string]string{"include": "--include", "exclude": "--exclude", "pockets": "--pocket", "components": "--components",
	"epoch": "SOURCE_DATE_EPOCH", "cache_salt": "cache-salt", "keyring": "--keyring", "kept_mirrors": "--keep-mirror", "no_verify": "--no-verify"}

// far is what a change of architecture or variant weighs: everything else follows from it.
const far = 10000

// compareInputs lists what differs between two inputs of a kind and suite, field by field, fields that this rootctl
// does not know included. distance is how far they are from each other; ok is false if one is not of that kind and suite.
func compareInputs(kind, suite string, was, now []byte) (changes []Change, distance int, ok bool) {
	a, okA := decodeInput(kind, suite, was)
	b, okB := decodeInput(kind, suite, now)
	if !okA || !okB {
		return nil, 0, false
	}
	names := slices.Collect(maps.Keys(a))
	for n := range b {
		if _, ok := a[n]; !ok {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(x, y string) int { // the long lists last
		if c := fieldRank(x) - fieldRank(y); c != 0 {
			return c
		}
		return strings.Compare(x, y)
	})
	for _, n := range names {
		if string(a[n]) == string(b[n]) {
			continue
		}
		found := compareField(n, a[n], b[n])
		changes = append(changes, found...)
		distance += len(found)
		if n == "arch" || n == "variant" {
			distance += far
		}
	}
	return changes, distance, true
}

func fieldRank(name string) int {
	return max(0, 1+slices.Index([]string{"indices", "files", "packages"}, name))
}

func compareField(name string, was, now json.RawMessage) []Change {
	switch name {
	case "packages":
		return compareNamed(name, was, now, func(p packageInput) string { return p.Name }, comparePackage)
	case "files":
		return compareNamed(name, was, now, func(f fileInput) string { return f.Path }, func(a, b *fileInput) Change {
			return Change{Text: presence("file "+firstOf(a, b).Path, a != nil, b != nil)}
		})
	case "added":
		return compareNamed(name, was, now, func(f addedInput) string { return f.Path }, func(a, b *addedInput) Change {
			return Change{Text: presence("file "+firstOf(a, b).Path, a != nil, b != nil)}
		})
	case "hooks":
		return compareNamed(name, was, now, hookInput.name, compareHook)
	case "sources":
		return []Change{{Input: name, Text: "sources changed"}}
	case "parent":
		return []Change{{Input: name, Was: scalar(was), Now: scalar(now), Text: presence("the root it extends", scalar(was) != "", scalar(now) != "")}}
	case "unshared":
		return []Change{{Input: name, Text: "a hook uses the network, so no build finds another's root: cache-salt lets them"}}
	case "indices":
		return compareNamed(name, was, now, indexInput.name, func(a, b *indexInput) Change {
			c := Change{Text: presence("index "+firstOf(a, b).name(), a != nil, b != nil)}
			if a != nil {
				c.Was = string(a.SHA256)
			}
			if b != nil {
				c.Now = string(b.SHA256)
			}
			return c
		})
	case "rules":
		return compareRules(was, now)
	}
	var a, b []string
	if isList(was) && isList(now) && json.Unmarshal(was, &a) == nil && json.Unmarshal(now, &b) == nil {
		return compareLists(name, a, b)
	}
	label := flagOf[name]
	if label == "" {
		label = name
	}
	c := Change{Input: name, Was: scalar(was), Now: scalar(now)}
	c.Text = fmt.Sprintf("%s %s -> %s", label, orNothing(c.Was), orNothing(c.Now))
	return []Change{c}
}

func compareRules(was, now json.RawMessage) []Change {
	a, b := make(map[string]json.RawMessage), make(map[string]json.RawMessage)
	if json.Unmarshal(was, &a) != nil || json.Unmarshal(now, &b) != nil {
		return []Change{{Input: "rules", Text: "rules changed"}}
	}
	names := make(map[string]bool)
	for n := range a {
		names[n] = true
	}
	for n := range b {
		names[n] = true
	}
	var out []Change
	for _, n := range slices.Sorted(maps.Keys(names)) {
		if x, y := scalar(a[n]), scalar(b[n]); x != y {
			out = append(out, Change{Input: "rules", Name: n, Was: x, Now: y, Text: fmt.Sprintf("the suite's %s %s -> %s", n, orNothing(x), orNothing(y))})
		}
	}
	return out
}

func compareLists(field string, a, b []string) []Change {
	label := flagOf[field]
	if label == "" {
		label = field
	}
	var out []Change
	add := func(list, other []string, what string) {
		for _, x := range list {
			if slices.Contains(other, x) {
				continue
			}
			c := Change{Input: field, Name: x}
			if cache.Digest(x).Valid() {
				x = cache.Digest(x).Short()
			}
			c.Text = fmt.Sprintf("%s %s %s", label, x, what)
			out = append(out, c)
		}
	}
	add(b, a, "added")
	add(a, b, "removed")
	if len(out) == 0 {
		out = append(out, Change{Input: field, Text: label + " in another order"})
	}
	return out
}

// isList holds for JSON lists, and for null and nothing, which stand for empty ones.
func isList(raw json.RawMessage) bool {
	s := string(raw)
	return s == "" || s == "null" || strings.HasPrefix(s, "[")
}

func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
