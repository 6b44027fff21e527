package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

func newBuildCommand(a *app) *cobra.Command {
	var sel selection
	var tag string
	var asJSON bool
	c := &cobra.Command{
		Use:   "build [flags] SUITE[-VARIANT][:ARCH]",
		Short: "make a root filesystem, or say that the cached one is current",
		Example: "  rootctl build bionic\n  rootctl build trixie-buildd\n" +
			"  rootctl build bookworm --include curl,ca-certificates --tag bookworm-curl\n" +
			"  rootctl build bionic --mirror http://mirror.example.org/ubuntu --pocket updates,security --tag bionic-new",
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if asJSON {
				a.quiet = true
			}
			set, err := a.suites()
			if err != nil {
				return err
			}
			req, err := sel.request(a, set, names[0])
			if err != nil {
				return err
			}
			store, err := a.openStore()
			if err != nil {
				return err
			}
			b, err := a.build(c.Context(), store, req, tag)
			if err != nil {
				return err
			}
			defer b.Lease.Close()
			if asJSON {
				return a.printJSON(newBuildReport(b))
			}
			a.closingLine(b)
			if b.name == "" && a.quiet {
				fmt.Fprintln(a.stdout, b.Root)
			}
			return nil
		},
	}
	sel.register(c.Flags())
	c.Flags().StringVar(&tag, "tag", "", "`name` for the root (a plain suite's root is named after it)")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// built is a result with the name it got in the cache, "" if none.
type built struct {
	*debootstrap.Result
	name string
}

// buildReport is build's --json object; its fields are an interface to scripts.
type buildReport struct {
	Name       string             `json:"name"`
	Suite      string             `json:"suite"`
	Arch       string             `json:"arch"`
	Variant    string             `json:"variant"`
	Digest     string             `json:"digest"`
	Key        cache.Digest       `json:"key"`
	Cached     bool               `json:"cached"`
	Packages   int                `json:"packages"`
	Downloaded int64              `json:"bytes_downloaded"`
	Mirror     string             `json:"mirror"`
	Seconds    map[string]float64 `json:"seconds"` // by stage
	Unverified bool               `json:"unverified"`
	Exceptions []string           `json:"exceptions,omitempty"`
	Unchecked  *time.Time         `json:"not_checked_since,omitempty"`
}

func newBuildReport(b *built) buildReport {
	i := b.Info
	r := buildReport{Name: b.name, Suite: i.Suite, Arch: i.Arch, Variant: i.Variant, Digest: "sha256:" + string(b.Root), Key: b.Key,
		Cached: b.Cached, Packages: i.Packages, Downloaded: b.Downloaded, Seconds: b.Seconds, Unverified: i.Unverified,
		Exceptions: i.Exceptions, Unchecked: b.Unchecked}
	if len(i.Pockets) > 0 {
		r.Mirror = i.Pockets[0].Mirror
	}
	return r
}

// closingLine says what was made, from where, and what to type next.
func (a *app) closingLine(b *built) {
	name, i := b.name, b.Info
	if name == "" {
		name = b.Root.Short()
	}
	what := fmt.Sprintf("%s is ready: %d packages, %s", name, i.Packages, bytesText(i.TarSize))
	if b.Cached {
		what = fmt.Sprintf("%s is cached: %d packages, %s", name, i.Packages, bytesText(i.TarSize))
	}
	if t := b.Total(); t > 0 {
		what += fmt.Sprintf(", %.1f s", t.Seconds())
	}
	a.say("%s", what)
	if len(i.Pockets) > 0 {
		a.say("from %s (%s of %s); apt inside uses %s", i.Pockets[0].Mirror, pocketList(i), i.Pockets[0].Date.UTC().Format(time.DateOnly), i.Sources)
	}
	for _, e := range i.Exceptions {
		a.say("note: %s", e)
	}
	if i.Unverified {
		a.warn("UNVERIFIED: nobody's signature stands behind this root")
	}
	a.say("next: rootctl run %s bash", name)
}

func pocketList(i debootstrap.Info) string {
	var names []string
	for _, p := range i.Pockets {
		names = append(names, p.Suite)
	}
	return strings.Join(names, ", ")
}

// stageTimes lists the stages of a build with their seconds, longest first, for the log.
func stageTimes(seconds map[string]float64) string {
	keys := slices.SortedFunc(maps.Keys(seconds), func(x, y string) int {
		if seconds[x] > seconds[y] {
			return -1
		}
		return 1
	})
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s %.2f", k, seconds[k]))
	}
	return strings.Join(parts, ", ")
}
