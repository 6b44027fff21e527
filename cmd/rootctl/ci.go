package main

import (
	"github.com/spf13/cobra"
)

func newCICommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "ci",
		Short: "steps of continuous integration in a root",
		Long:  "ci has what continuous integration calls: a shell for the steps of a job, and the end of it.",
	}
	c.AddCommand(newCIShellCommand(a), newCIEndCommand(a), newCIInitCommand(a))
	return c
}

// shellName is argv[0] of a step's shell: rootctl-shell NAME FILE is rootctl ci shell NAME FILE.
const shellName = "rootctl-shell"
