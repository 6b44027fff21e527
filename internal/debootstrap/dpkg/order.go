package dpkg

import (
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
)

// dpkgOrder puts paragraphs of a status file into the order in which dpkg writes them: by the bucket of its
// hash table of names, and inside a bucket by where a name was first read, in whichever field. dpkg does
// so at the end of each run, --unpack among them, so the next one reads the names in that order.
func dpkgOrder(paragraphs []string, mod uint32) {
	type place struct {
		bucket uint32
		seen   int
	}
	places := map[string]place{}
	see := func(name string) {
		if _, ok := places[name]; !ok {
			places[name] = place{bucket(name, mod), len(places)}
		}
	}
	for _, p := range paragraphs {
		for field, value := range control.Fields(p) {
			switch strings.ToLower(field) {
			case "package":
				see(value)
			case "pre-depends", "depends", "recommends", "suggests", "enhances", "conflicts", "breaks", "replaces", "provides":
				relations, err := control.ParseRelations(value)
				if err != nil {
					continue // dpkg will say what is wrong with it
				}
				for _, r := range relations {
					for _, a := range r {
						see(a.Name)
					}
				}
			}
		}
	}
	slices.SortStableFunc(paragraphs, func(a, b string) int {
		x, y := places[control.Field(a, "Package")], places[control.Field(b, "Package")]
		if x.bucket != y.bucket {
			return int(x.bucket) - int(y.bucket)
		}
		return x.seen - y.seen
	})
}
