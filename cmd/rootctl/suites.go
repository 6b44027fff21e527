package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func newSuitesCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "suites",
		Short: "list the suites rootctl knows",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			set, err := a.suites()
			if err != nil {
				return err
			}
			if err := set.Check(); err != nil {
				return err
			}
			type row struct {
				Suite      string   `json:"suite"`
				Family     string   `json:"family"`
				Version    string   `json:"version"`
				Title      string   `json:"title"`
				EOL        string   `json:"eol,omitempty"`
				Archived   bool     `json:"archived"`
				Aliases    []string `json:"aliases,omitempty"`
				Components []string `json:"components"`
				Pockets    []string `json:"pockets"`
			}
			rows := []row{}
			for _, s := range set.All() {
				r := row{s.Codename, s.Family, s.Version, s.Title, s.EOL, s.Archived, s.Aliases, s.Components, []string{"release"}}
				for _, p := range s.Pockets {
					r.Pockets = append(r.Pockets, p.Name)
				}
				rows = append(rows, r)
			}
			if asJSON {
				return a.printJSON(rows)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SUITE\tVERSION\tEND OF LIFE\tTITLE")
			for _, r := range rows {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Suite, r.Version, orDash(r.EOL), r.Title)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printJSON writes one indented JSON value to stdout.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
