package main

import (
	"fmt"
	"text/tabwriter"
)

// print writes the table, or the list of JSON.
func (e *eachRun) print(asJSON bool) error {
	if asJSON {
		return e.a.printJSON(e.results)
	}
	w := tabwriter.NewWriter(e.a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "NAME\tEXIT\tSECONDS\tROOT\n")
	for i := range e.results {
		r := &e.results[i]
		exit, seconds := "-", "-"
		if r.Started {
			exit, seconds = fmt.Sprint(r.Exit), fmt.Sprintf("%.2f", r.Seconds)
		} else if r.Error != "" {
			exit = fmt.Sprint(r.Exit)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(r.Name), exit, seconds, r.root())
	}
	return w.Flush()
}

// root says how the root came to be there.
func (r *eachResult) root() string {
	switch {
	case r.Error != "":
		return "none"
	case r.How == "":
		return "-"
	case r.How == "cached":
		return r.How
	}
	return fmt.Sprintf("%s in %.1f s", r.How, r.Ensure)
}
