package main

import (
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

type lsRow struct {
	Name       string                   `json:"name"` // "" for a root nobody named
	Digest     string                   `json:"digest"`
	Suite      string                   `json:"suite"`
	Variant    string                   `json:"variant"`
	Arch       string                   `json:"arch"`
	Packages   int                      `json:"packages"`
	Size       int64                    `json:"tar_size"` // bytes of the canonical tar
	Date       time.Time                `json:"date"`     // of the newest pocket
	Pockets    []debootstrap.InfoPocket `json:"pockets"`
	Updates    *debootstrap.InfoUpdates `json:"security_updates,omitempty"`
	Built      time.Time                `json:"built"`
	Unverified bool                     `json:"unverified"`
	Imported   bool                     `json:"imported,omitempty"` // what it says of itself is not checked
}

func newLsCommand(a *app) *cobra.Command {
	var asJSON, digests bool
	c := &cobra.Command{
		Use:   "ls",
		Short: "list the roots in the cache",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			store, err := a.openStore()
			if err != nil {
				return err
			}
			rows, err := listRoots(store)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(rows)
			}
			if len(rows) == 0 {
				a.say("the cache is empty; next: rootctl build bionic")
				return nil
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tDIGEST\tSUITE\tVARIANT\tARCH\tPACKAGES\tSIZE\tPOCKETS\tNOTE")
			for _, r := range rows {
				d := strings.TrimPrefix(r.Digest, "sha256:")
				if !digests {
					d = cache.Digest(d).Short()
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", orDash(r.Name), d, r.Suite, r.Variant, r.Arch, r.Packages,
					bytesText(r.Size), pocketDates(r.Pockets), r.note())
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&digests, "digests", false, "print whole digests")
	return c
}

// note is what a reader of the list should know of a root.
func (r lsRow) note() string {
	var notes []string
	if r.Unverified {
		notes = append(notes, "UNVERIFIED")
	}
	if r.Imported {
		notes = append(notes, "imported")
	}
	if u := r.Updates; u != nil && u.Packages > 0 {
		notes = append(notes, fmt.Sprintf("%d security updates as of %s", u.Packages, u.Date.UTC().Format(time.DateOnly)))
	}
	return strings.Join(notes, ", ")
}

// pocketDates names each pocket and the date of its Release.
func pocketDates(pockets []debootstrap.InfoPocket) string {
	var parts []string
	for _, p := range pockets {
		parts = append(parts, p.Name+" "+p.Date.UTC().Format(time.DateOnly))
	}
	return orDash(strings.Join(parts, ", "))
}

// listRoots lists every name whose root is there, then the roots without a name.
func listRoots(store *cache.Store) ([]lsRow, error) {
	roots, err := store.Roots()
	if err != nil {
		return nil, err
	}
	there := make(map[cache.Digest]bool, len(roots))
	for _, r := range roots {
		there[r.Digest] = true
	}
	refs, err := store.Refs()
	if err != nil {
		return nil, err
	}
	rows := []lsRow{}
	named := make(map[cache.Digest]bool, len(refs))
	for _, r := range refs {
		if there[r.Root] {
			named[r.Root] = true
			rows = append(rows, rowOf(r))
		}
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].Name < rows[j].Name })
	for _, r := range roots {
		if named[r.Digest] {
			continue
		}
		ref, err := debootstrap.RefOfRoot(store, r.Digest)
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowOf(ref))
	}
	return rows, nil
}

func rowOf(r cache.Ref) lsRow {
	row := lsRow{Name: r.Name, Digest: "sha256:" + string(r.Root)}
	var i debootstrap.Info
	if json.Unmarshal(r.Info, &i) != nil {
		return row // a record of another version: the digest is all that is sure
	}
	row.Suite, row.Variant, row.Arch, row.Packages = i.Suite, i.Variant, i.Arch, i.Packages
	row.Size, row.Built, row.Unverified = i.TarSize, i.Built, i.Unverified
	row.Imported = i.Imported != nil
	row.Pockets, row.Updates = i.Pockets, i.Updates
	for _, p := range i.Pockets {
		if p.Date.After(row.Date) {
			row.Date = p.Date
		}
	}
	return row
}
