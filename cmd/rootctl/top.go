package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

func newTopCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "top CONTAINER",
		Short:   "list the processes of a container",
		Long:    "top lists the processes of a running container: their number inside and on the host, user and command.",
		Example: "  rootctl top web\n  rootctl top --json web",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			return a.each("top", names, func(_ *state.Dir, c *state.Container) error {
				if !c.Running || c.PID == 0 || c.BootID != state.BootID() {
					return withHint(errors.New("it does not run"), "rootctl ps")
				}
				list, err := runner.Residents(runner.Process{PID: c.PID, StartTime: c.StartTime, PidfdInode: c.PidfdInode})
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(list)
				}
				lines := [][]string{{"PID", "HOST", "USER", "COMMAND"}}
				for _, r := range list {
					lines = append(lines, []string{fmt.Sprint(r.PID), fmt.Sprint(r.HostPID), oneLine(r.User), oneLine(strings.Join(r.Command, " "))})
				}
				_, err = a.stdout.Write(setColumns(lines))
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
