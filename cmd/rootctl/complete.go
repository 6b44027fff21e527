package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/runner/state"
)

// completeContainers has shells complete the names of containers: of those that run, or of all, once or several times.
func (a *app) completeContainers(root *cobra.Command) {
	const running, all, several = " exec top stop kill ", " logs wait rm inspect diff commit ", " stop kill wait rm inspect "
	for _, c := range root.Commands() {
		word := " " + c.Name() + " "
		if !strings.Contains(running+all, word) {
			continue
		}
		c.ValidArgsFunction = func(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(given) > 0 && !strings.Contains(several, word) {
				return nil, cobra.ShellCompDirectiveDefault
			}
			list, err := (&state.Dir{Path: a.stateDir()}).List()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp // there are none
			}
			var names []string
			for _, k := range list {
				name := k.Name
				if name == "" {
					name = k.ID
				}
				if (k.Running || strings.Contains(all, word)) && !slices.Contains(given, name) {
					names = append(names, name+"\t"+printable(k.RootName))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		}
	}
}
