package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp: every verb has a heading and examples, and every example is a command line that rootctl takes.
func TestHelp(t *testing.T) {
	examples := 0
	lockless := newBuildCommand(newApp(nil)).Flags().Lookup("lock") == nil
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "help" || c.Name() == "completion" {
			return
		}
		if c.HasParent() && !c.Parent().HasParent() && c.GroupID == "" {
			t.Errorf("%s stands below no heading", c.Name())
		}
		if c.Example == "" && !c.HasSubCommands() {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			if strings.Contains(line, "build --lock") && lockless {
				continue
			}
			line, _, _ = strings.Cut(line, " #")
			words := strings.Fields(line)
			if i := slices.Index(words, "rootctl"); i >= 0 {
				words = words[i:] // behind a pipe or sudo
			} else {
				t.Errorf("%s: %q", c.CommandPath(), line)
				continue
			}
			for i, w := range words {
				if w == "|" || w == "&&" || strings.HasPrefix(w, ">") {
					words = words[:i]
					break
				}
			}
			verb, rest, err := newRootCommand(newApp(nil)).Find(words[1:])
			if err == nil {
				err = verb.ParseFlags(rest)
			}
			if err == nil {
				err = verb.ValidateArgs(verb.Flags().Args())
			}
			if err != nil || !verb.Runnable() {
				t.Errorf("%s: %q: %v", c.CommandPath(), line, err)
			}
			examples++
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(newRootCommand(newApp(nil)))
	if examples < 15 {
		t.Errorf("%d examples", examples)
	}
}
