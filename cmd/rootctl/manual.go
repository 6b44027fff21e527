package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// newManualCommand writes what packages install beside the program; `make dist` calls it.
func newManualCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "manual FOLDER",
		Short:   "write man pages and completions for bash, zsh and fish",
		Long:    "manual writes a man page for each verb into FOLDER/man1, and into FOLDER/bash, FOLDER/zsh and FOLDER/fish the\ncompletions, under the names that these shells look for.",
		Example: "  rootctl manual /usr/local/share/rootctl",
		Hidden:  true,
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if err := writeManual(c.Root(), names[0]); err != nil {
				return withHint(fmt.Errorf("write the manual: %w", err), "name a folder that can be written")
			}
			return nil
		},
	}
}

func writeManual(root *cobra.Command, dir string) error {
	root.InitDefaultHelpFlag()
	root.InitDefaultVersionFlag()
	var walk func(c *cobra.Command) error
	walk = func(c *cobra.Command) error {
		if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
			return nil
		}
		c.InitDefaultHelpFlag()
		err := writeFile(filepath.Join(dir, "man1", pageName(c)+".1"), manPage(c))
		for _, sub := range c.Commands() {
			if err == nil {
				err = walk(sub)
			}
		}
		return err
	}
	if err := walk(root); err != nil {
		return err
	}
	var bash, zsh, fish bytes.Buffer
	if err := root.GenBashCompletionV2(&bash, true); err != nil {
		return err
	}
	if err := root.GenZshCompletion(&zsh); err != nil {
		return err
	}
	if err := root.GenFishCompletion(&fish, true); err != nil {
		return err
	}
	for path, text := range map[string][]byte{"bash/rootctl": bash.Bytes(), "zsh/_rootctl": zsh.Bytes(), "fish/rootctl.fish": fish.Bytes()} {
		if err := writeFile(filepath.Join(dir, path), text); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// pageName is rootctl-cache-gc for rootctl cache gc.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }
