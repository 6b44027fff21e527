package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/suites"
)

// suiteRow is one suite as listed.
type suiteRow struct {
	Suite      string   `json:"suite"`
	Family     string   `json:"family"`
	Version    string   `json:"version"`
	Title      string   `json:"title"`
	Role       string   `json:"role,omitempty"` // by rootctl's table; the archive may know better
	EOL        string   `json:"eol,omitempty"`
	Ended      bool     `json:"ended"`
	Archived   bool     `json:"archived"`
	Aliases    []string `json:"aliases,omitempty"`
	Components []string `json:"components"`
	Pockets    []string `json:"pockets"`
}

func newSuitesCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "suites",
		Short:   "list the suites rootctl knows, those that are alive first",
		Example: "  rootctl suites",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			set, err := a.suites()
			if err != nil {
				return err
			}
			if err := errors.Join(set.Check(), checkKeyrings(set)); err != nil {
				return withHint(err, "docs/suites.md says what a suite's file may hold")
			}
			rows := suiteRows(set, a.now())
			if asJSON {
				return a.printJSON(rows)
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SUITE\tVERSION\tALSO CALLED\tEND OF LIFE\tSTATE\tTITLE")
			for _, r := range rows {
				names := slices.DeleteFunc(slices.Concat([]string{r.Role}, r.Aliases), func(n string) bool { return n == "" || n == r.Version })
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Suite, orDash(r.Version), orDash(strings.Join(names, ", ")), orDash(r.EOL), r.state(), r.Title)
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// checkKeyrings reads the keys of users' suites; a file that is not there is set.Check's to tell.
func checkKeyrings(set *suites.Set) error {
	var errs []error
	for _, su := range set.All() {
		files, err := set.Keyring(su)
		if suites.Brought(su.Codename) || err != nil {
			continue
		}
		if _, err := pgp.ReadKeyring(files...); err != nil {
			errs = append(errs, fmt.Errorf("keyrings of %s (%s): %w", su.Codename, strings.Join(su.Keyrings, ", "), err))
		}
	}
	return errors.Join(errs...)
}

func (r suiteRow) state() string {
	switch {
	case r.Archived:
		return "archived"
	case r.Ended:
		return "ended"
	}
	return "alive"
}

// suiteRows lists the suites: alive ones first, then by family, the newest first.
func suiteRows(set *suites.Set, now time.Time) []suiteRow {
	rows := []suiteRow{}
	for _, s := range set.All() {
		r := suiteRow{s.Codename, s.Family, s.Version, s.Title, s.Role, s.EOL, s.Ended(now) || s.Archived, s.Archived, s.Aliases, s.Components, []string{"release"}}
		for _, p := range s.Pockets {
			r.Pockets = append(r.Pockets, p.Name)
		}
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(x, y suiteRow) int {
		return cmp.Or(byFalse(x.Ended, y.Ended), cmp.Compare(x.Family, y.Family), byFalse(x.Version != "", y.Version != ""),
			-cmp.Compare(len(major(x.Version)), len(major(y.Version))), -cmp.Compare(x.Version, y.Version))
	})
	return rows
}

// byFalse orders false before true.
func byFalse(x, y bool) int {
	switch {
	case x == y:
		return 0
	case y:
		return -1
	}
	return 1
}

// major is a version up to its first point: 9 is older than 13, which letters alone would not tell.
func major(version string) string {
	m, _, _ := strings.Cut(version, ".")
	return m
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
