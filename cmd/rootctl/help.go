package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// groups are the headings of rootctl --help and the verbs below each.
var groups = [...]struct{ title, verbs string }{
	{"Make and use roots:", " run each ci build ensure lock "},
	{"Containers:", " exec ps top inspect logs stop kill wait rm diff commit "},
	{"Look:", " ls show sbom provenance suites doctor version manual "},
	{"Name and move:", " tag untag export import bundle push pull "},
	{"Look after the cache:", " cache "},
}

// arrange puts the verbs under headings and cobra's own texts into our words.
func arrange(root *cobra.Command) {
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, c := range root.Commands() {
			if strings.Contains(g.verbs, " "+c.Name()+" ") {
				c.GroupID = g.title
			}
		}
	}
	for _, c := range root.Commands() {
		if c.HasSubCommands() && !c.Runnable() { // else any word behind it gives the help, as if all were well
			c.Args, c.RunE = args(cobra.NoArgs), func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [VERB]",
		Short: "explain a verb, as VERB --help does",
		RunE: func(c *cobra.Command, words []string) error {
			verb, rest, err := root.Find(words)
			if err != nil || len(rest) > 0 {
				if verb == nil {
					verb = root
				}
				return noVerb(verb, words[len(words)-max(1, len(rest))])
			}
			verb.InitDefaultHelpFlag()
			return verb.Help()
		},
	})
	root.SetHelpCommandGroupID(groups[2].title)
}
