package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
)

func newCacheDfCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "df",
		Short:   "say what takes how much room in the cache",
		Example: "  rootctl cache df\n  rootctl cache df --json",
		Args:    args(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := a.existingStore()
			if err != nil {
				return err
			}
			u, err := store.Usage()
			if err != nil {
				return err
			}
			r := usageReport{Usage: u}
			if r.Copies, err = copyRows(store); err != nil {
				return err
			}
			got, err := store.Collect(c.Context(), cache.CollectOptions{MaxSize: 1, DryRun: true})
			if err == nil {
				r.Reclaimable = got.Freed
			} else {
				a.log().Debug("what can be freed is not known", "error", err) // read-only, or a collection is under way
			}
			if asJSON {
				return a.printJSON(r.object())
			}
			return a.printUsage(r)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// usageReport is what df knows.
type usageReport struct {
	*cache.Usage
	Copies      []copyRow `json:"copies,omitempty"`
	Reclaimable int64     `json:"reclaimable"` // bytes: roots without a name, and what nothing refers to
}

// copyRow is the kept copy of a container, which its rm removes and no collection.
type copyRow struct {
	Copy      string       `json:"copy"`                // in scratch/
	Container string       `json:"container,omitempty"` // its name, or ID
	Root      cache.Digest `json:"root"`
	Bytes     int64        `json:"bytes"`
}

func copyRows(store *cache.Store) ([]copyRow, error) {
	copies, err := store.KeptCopies()
	var rows []copyRow
	for _, k := range copies {
		var note keptContainer
		_ = json.Unmarshal(k.Note, &note) // else nothing is said of it
		rows = append(rows, copyRow{filepath.Base(k.Path), cmp.Or(note.Container.Name, note.Container.ID), k.Root, k.Size()})
	}
	return rows, err
}

// usageRow is a root in df's --json object, in the words of ls --json.
type usageRow struct {
	Digest   string    `json:"digest"`
	Names    []string  `json:"names"`
	DiskSize int64     `json:"disk_size"` // bytes unpacked, to about a fiftieth
	Used     time.Time `json:"last_used"` // give or take an hour
	InUse    bool      `json:"in_use"`
}

// object is df's --json object.
func (r usageReport) object() any {
	rows := make([]usageRow, len(r.Roots))
	for i, u := range r.Roots {
		rows[i] = usageRow{"sha256:" + string(u.Digest), u.Names, u.Bytes, u.Used.UTC().Truncate(time.Second), u.InUse}
	}
	return struct {
		usageReport
		Roots []usageRow `json:"roots"`
	}{r, rows}
}

func (a *app) printUsage(u usageReport) error {
	out := bufio.NewWriter(a.stdout)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tITEMS\tSIZE")
	for _, k := range u.Kinds {
		fmt.Fprintf(w, "%s\t%d\t%s\n", k.Kind, k.Items, bytesText(k.Bytes))
	}
	fmt.Fprintf(w, "total\t\t%s\n", bytesText(u.Bytes))
	fmt.Fprintf(w, "reclaimable\t\t%s\n", bytesText(u.Reclaimable))
	if len(u.Roots) > 0 {
		fmt.Fprintln(w, "\nROOT\tNAMES\tSIZE\tUSED\tNOTE")
	}
	for _, r := range u.Roots {
		note := ""
		if r.InUse {
			note = "in use"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.Digest.Short(), orDash(strings.Join(r.Names, " ")), bytesText(r.Bytes), r.Used.UTC().Format(time.DateOnly), note)
	}
	if len(u.Copies) > 0 {
		fmt.Fprintln(w, "\nCOPY\tCONTAINER\tROOT\tSIZE\tNOTE")
	}
	for _, c := range u.Copies {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\tuntil rootctl rm\n", c.Copy, orDash(printable(c.Container)), c.Root.Short(), bytesText(c.Bytes))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return out.Flush()
}
