package main

import (
	"fmt"
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
		RunE: func(*cobra.Command, []string) error {
			store, err := a.openStore()
			if err != nil {
				return err
			}
			u, err := store.Usage()
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(u)
			}
			return a.printUsage(u)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (a *app) printUsage(u *cache.Usage) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tITEMS\tSIZE")
	for _, k := range u.Kinds {
		fmt.Fprintf(w, "%s\t%d\t%s\n", k.Kind, k.Items, bytesText(k.Bytes))
	}
	fmt.Fprintf(w, "total\t\t%s\n", bytesText(u.Bytes))
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
	return w.Flush()
}
