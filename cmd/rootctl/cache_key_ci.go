package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// keyReport is the --json object of cache key: a key for a CI system's cache of a file of cache save, the beginnings of
// older keys that may serve, and what it is made of. Its fields are an interface to scripts.
type keyReport struct {
	Key     string     `json:"key"`
	Restore []string   `json:"restore-keys"` // most specific first
	Inputs  []keyInput `json:"inputs"`       // in the order asked for
}

// keyInput is one root: those of a lock file have neither request nor resolve.
type keyInput struct {
	Name string `json:"name"`
	*debootstrap.Keys
}

// decides is what changes when the root's bytes do.
func (in keyInput) decides() string {
	if in.Rules != nil {
		return string(in.Resolve.Key + " " + in.Rules.Key)
	}
	return string(in.Root.Key)
}

// maxNames is how much of a key the names of its roots may take.
const maxNames = 80

// newKeyReport makes one key of all roots: it changes when the bytes of one of them do, and not with the order in which
// they are named. The form of the file is in it, so that what another rootctl saved is not taken for a hit.
func newKeyReport(inputs []keyInput) keyReport {
	sorted := slices.Clone(inputs)
	slices.SortFunc(sorted, func(x, y keyInput) int {
		return strings.Compare(x.Name+" "+x.decides(), y.Name+" "+y.decides())
	})
	var names []string
	var asked, roots strings.Builder
	for _, in := range sorted {
		names = append(names, strings.Map(keyLetter, in.Name))
		fmt.Fprintf(&asked, "%s %s\n", in.Name, in.Request.Key)
		fmt.Fprintf(&roots, "%s %s\n", in.Name, in.decides())
	}
	all := strings.Join(names, "+")
	if len(all) > maxNames {
		all = fmt.Sprintf("%d-roots", len(names))
	}
	digits := func(b *strings.Builder, n int) string { return string(cache.Sum([]byte(b.String())))[:n] }
	of := fmt.Sprintf("rootctl-%d-%s-%s-", parcel.Schema, runtime.GOARCH, all)
	same := of + digits(&asked, 12) + "-"
	return keyReport{Key: same + digits(&roots, 32), Restore: []string{same, of}, Inputs: inputs}
}

// keyLetter lets through what no CI system's cache minds in a key.
func keyLetter(r rune) rune {
	if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", r) {
		return r
	}
	return '_'
}

// keyInputs joins names and keys.
func keyInputs(names []string, all []*debootstrap.Keys) []keyInput {
	var inputs []keyInput
	for i, keys := range all {
		inputs = append(inputs, keyInput{names[i], keys})
	}
	return inputs
}
