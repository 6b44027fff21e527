package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/runner"
)

func newDoctorCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "doctor",
		Short: "find out by trying what run and build can do here, and how to get the rest",
		Long: "doctor tries in throw-away processes what containers need of this machine and prints a line each: ok, no\n" +
			"(run or build does not work) or - (something stands in, or one flag does not work), with what helps.\n" +
			"The exit code is 0 if run and build work, else 1. Nothing is changed.",
		Example: "  rootctl doctor\n  sudo rootctl doctor --json",
		Args:    args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return a.doctor(asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the findings as JSON")
	return c
}

func (a *app) doctor(asJSON bool) error {
	dir, err := a.cachePath()
	if err != nil {
		return err
	}
	check := runner.Checkup{Cache: dir, Path: filepath.SplitList(a.getenv("PATH"))}
	if os.Geteuid() != 0 {
		if check.User, err = a.userMap(); err != nil {
			return err
		}
	}
	found := check.Findings()
	works := true
	for _, f := range found {
		works = works && (f.OK || !f.Needed)
	}
	if !works {
		a.exit = codeFailed
	}
	if asJSON {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Works    bool             `json:"works"`
			Findings []runner.Finding `json:"findings"`
		}{works, found})
	}
	for _, f := range found {
		mark := "ok"
		switch {
		case f.OK:
		case f.Needed:
			mark = "no"
		default:
			mark = "-"
		}
		line := fmt.Sprintf("%-3s %s", mark, f.Probe)
		if f.Found != "" {
			line += ": " + f.Found
		}
		fmt.Fprintln(a.stdout, printable(line))
		if f.Fix != "" {
			fmt.Fprintln(a.stdout, printable("    fix: "+f.Fix))
		}
	}
	return nil
}
