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

const githubJob = `name: rootctl
on: [push, pull_request]
permissions:
  contents: read
jobs:
  check:
    runs-on: ubuntu-latest
    strategy:
      fail-fast: false
      matrix:
        root: [%s]
    steps:
      - uses: actions/checkout@v4
      - uses: rootctl/rootctl@main # better: the commit of a release
        with:
          roots: ${{ matrix.root }}
          version: '' # of rootctl, with its sha256 from SHA256SUMS; empty: the rootctl on PATH
          sha256: ''
      - run: make check
        shell: rootctl-shell ${{ matrix.root }} {0}
      - if: always()
        run: rootctl ci end
`

const gitlabJob = `# On a runner whose executor is shell, with rootctl on PATH. The cache is one file. GitLab keeps that of protected branches
# apart from the other branches', unless cache:unprotect says not to; merge requests read the latter and write none.
rootctl:
  parallel:
    matrix:
      - ROOT: [%s]
  variables:
    ROOTS_FILE: $CI_PROJECT_DIR/.rootctl-roots
  cache:
    key: rootctl-$ROOT
    paths: [.rootctl-roots]
    policy: $CACHE_POLICY
  rules:
    - if: $CI_PIPELINE_SOURCE == "merge_request_event"
      variables: {CACHE_POLICY: pull}
    - variables: {CACHE_POLICY: pull-push}
  script:
    - if [ -e "$ROOTS_FILE" ]; then rootctl cache restore "$ROOTS_FILE" || true; fi
    - rootctl ensure "$ROOT"
    - if [ "$CACHE_POLICY" = pull-push ]; then rootctl cache save "$ROOTS_FILE" "$ROOT"; fi
    - rootctl run --net=host --here "$ROOT" -- make check
`

// ciInit writes a CI system's file, never over one that is there unless told to.
func (a *app) ciInit(ctx context.Context, system string, names []string, force bool) error {
	path, text := ".github/workflows/rootctl.yml", githubJob
	switch system {
	case "github":
	case "gitlab":
		path, text = ".gitlab-ci.yml", gitlabJob
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
	for _, n := range names {
		if strings.Trim(n, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:_+-") != "" || n == "" || n[0] == '-' {
			return withHint(&flagError{fmt.Errorf("ci init: %q is no name of a root", n)}, "rootctl ci init %s bionic noble", system)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) && !force {
		return withHint(&flagError{fmt.Errorf("ci init: %s is there already", path)}, "--force writes over it")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return cannotWrite(path, err)
	}
	o, err := a.createOutput(ctx, path)
	if err != nil {
		return err
	}
	defer o.close()
	if _, err := io.WriteString(o, fmt.Sprintf(text, `"`+strings.Join(names, `", "`)+`"`)); err != nil {
		return err
	}
	if err := o.finish(); err != nil {
		return err
	}
	a.say("wrote %s", path)
	return nil
}
