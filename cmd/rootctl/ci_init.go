package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/ci"
)

func newCIInitCommand(a *app) *cobra.Command {
	var force bool
	c := &cobra.Command{
		Use:     "init github|gitlab [NAME...]",
		Short:   "write a file that has a CI system run a step in each of the roots",
		Long:    "init writes a file that has GitHub or GitLab run a step in each of the roots: those named, else those of rootctl.toml.",
		Example: "  rootctl ci init github bionic noble\n  rootctl ci init gitlab bookworm --force",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, given []string) error {
			return a.ciInit(c.Context(), given[0], given[1:], force)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "write over the file that is there")
	return c
}

// ciInit writes a CI system's file, never over one that is there unless told to.
func (a *app) ciInit(ctx context.Context, system string, names []string, force bool) error {
	path, text := ".github/workflows/rootctl.yml", ci.GitHub
	switch system {
	case "github":
	case "gitlab":
		path, text = ".gitlab-ci.yml", ci.GitLab
	default:
		return withHint(&flagError{fmt.Errorf("ci init: unknown system %q", system)}, "rootctl ci init github or rootctl ci init gitlab")
	}
	if len(names) == 0 {
		names = []string{"bionic", "noble"}
		r, err := new(selection).recipe()
		if err != nil {
			return err
		}
		if r != nil {
			names = r.Names()
		}
	}
	if err := a.checkJobsRoots(system, names); err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) && !force {
		return withHint(&flagError{fmt.Errorf("ci init: %s is there already", path)}, "--force writes over it")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return withHint(fmt.Errorf("ci init: make the folder %s: %w", filepath.Dir(path), err), "it must be a folder, or a link to one")
	}
	o, err := a.createOutput(ctx, path)
	if err != nil {
		return err
	}
	defer o.close()
	if _, err := io.WriteString(o, strings.Replace(text, ci.Roots, `["`+strings.Join(names, `", "`)+`"]`, 1)); err != nil {
		return err
	}
	if err := o.finish(); err != nil {
		return err
	}
	a.say("wrote %s for %s", path, strings.Join(names, ", "))
	a.say("next: put your command in the place of make check")
	if system == "github" {
		a.say("next: fill in which version of rootctl the action is to fetch, and its sha256, unless the runner has rootctl")
	}
	return nil
}

// checkJobsRoots refuses what no machine of the CI system could make a root of; another machine's cache has no names.
func (a *app) checkJobsRoots(system string, names []string) error {
	set, err := a.suites()
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.Trim(n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:_+-") != "" || n == "" || n[0] == '-' {
			return withHint(&flagError{fmt.Errorf("ci init: %q is no name of a root", n)}, "rootctl ci init %s bionic noble", system)
		}
		if _, err := new(selection).request(a, set, n); err != nil {
			return fmt.Errorf("ci init %s: %w", system, err)
		}
	}
	return nil
}
