package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/upper"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

func newDiffCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "diff CONTAINER",
		Short:   "list what a container has changed in its copy of the root",
		Long:    "diff lists the files that a container has added (A), changed (C) or deleted (D), while it runs or afterwards.",
		Example: "  rootctl diff web\n  rootctl diff --json web",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, names []string) error {
			if done, err := a.enterAgain(); done || err != nil {
				return err
			}
			defer a.catchSignals()()
			return a.each("diff", names, func(_ *state.Dir, k *state.Container) error {
				return a.diff(c.Context(), k, asJSON)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// diffRow is a change in diff --json; its fields are an interface to scripts.
type diffRow struct {
	Kind string `json:"kind"` // added, changed or deleted
	Path string `json:"path"`
}

func (a *app) diff(ctx context.Context, c *state.Container, asJSON bool) error {
	k, err := a.openCopy(ctx, c)
	if err != nil {
		return err
	}
	defer k.Close()
	changes, err := upper.Read(ctx, k.copy)
	for try := 0; err != nil && c.Running && try < 5 && ctx.Err() == nil; try++ { // it changes while it is read
		time.Sleep(20 * time.Millisecond)
		changes, err = upper.Read(ctx, k.copy)
	}
	if err != nil {
		return err
	}
	rows := []diffRow{}
	for _, ch := range changes.List() {
		rows = append(rows, diffRow{map[byte]string{upper.Added: "added", upper.Changed: "changed", upper.Deleted: "deleted"}[ch.Kind], ch.Path})
		if !asJSON {
			if _, err := fmt.Fprintf(a.stdout, "%c %s\n", ch.Kind, oneLine(ch.Path)); err != nil {
				return err
			}
		}
	}
	if asJSON {
		return a.printJSON(rows)
	}
	return nil
}

// An openedCopy is a container's copy that nobody removes, with the root below it.
type openedCopy struct {
	store *cache.Store
	lease *cache.Lease
	lock  *os.File // nil while the container runs
	copy  *upper.Copy
}

func (k *openedCopy) Close() {
	if k.lock != nil {
		k.lock.Close()
	}
	k.lease.Close()
}

// openCopy finds where a container's changes lie and how they are to be read.
func (a *app) openCopy(ctx context.Context, c *state.Container) (_ *openedCopy, err error) {
	dir := c.Copy
	if dir == "" && c.Running {
		dir = c.Spec.Work
	}
	if dir == "" {
		return nil, withHint(errors.New("what it changes is in memory"), "start it with --keep, and without --upper=tmpfs")
	}
	store, err := cache.Open(c.Cache, cache.Options{Existing: true, Log: a.log(), Now: a.now})
	if err == nil && store.Absent() {
		err = fmt.Errorf("its cache %s is gone", c.Cache)
	}
	if err != nil {
		return nil, err
	}
	k := &openedCopy{store: store}
	if !c.Running {
		if k.lock, err = store.LockKept(dir); err != nil {
			return nil, keptError(err)
		}
	}
	defer func() {
		if err != nil && k.lock != nil {
			k.lock.Close()
		}
	}()
	if k.lease, err = store.Lease(ctx, cache.Digest(c.Root)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			k.lease.Close()
		}
	}()
	if _, err := os.Lstat(runner.WholeMark(dir)); err == nil {
		return nil, withHint(errors.New("its copy is the whole root, which cannot be told from what it changed"),
			"keep the cache on ext4, xfs, btrfs or tmpfs, with Linux 5.19 or newer (docs/fallbacks.md)")
	}
	if k.copy, err = a.copyOf(c, dir); err != nil {
		return nil, err
	}
	k.copy.Parent, err = k.lease.Manifest()
	return k, err
}

func keptError(err error) error {
	switch {
	case errors.Is(err, cache.ErrBusy):
		return withHint(errors.New("its copy is in use"), "wait until its container, or another rootctl diff or commit, has ended")
	case errors.Is(err, cache.ErrNotFound):
		return withHint(errors.New("its copy is gone"), "rootctl rm removes the record as well")
	}
	return err
}

// copyOf describes a copy by the Spec it was made from.
func (a *app) copyOf(c *state.Container, dir string) (*upper.Copy, error) {
	s := &c.Spec
	if len(s.Lower) == 0 {
		return nil, withHint(errors.New("how its copy was made is not known any more"), "rootctl rm %s removes the copy", c.ID)
	}
	k := &upper.Copy{Dir: filepath.Join(dir, "u"), UserMarks: s.Nested, Files: map[string][]byte{}}
	if s.Nested {
		if a.inside == nil || a.inside.ids != s.IDs.Size {
			return nil, withHint(fmt.Errorf("it was made with %d ids, which are not those of now", s.IDs.Size),
				"have the id ranges of then again (/etc/subuid, /etc/subgid, newuidmap)")
		}
		k.SingleID = s.IDs.Size == 1
	} else if s.UserNS != "host" {
		k.Base, k.Size = s.IDs.Base, s.IDs.Size
	}
	k.Mounts = []string{"/proc", "/sys", "/dev"}
	if s.Tmpfs == nil && !s.Bare {
		k.Mounts = append(k.Mounts, "/tmp", "/run")
	}
	k.Mounts = append(k.Mounts, s.Tmpfs...)
	for _, m := range s.Memory {
		k.Mounts = append(k.Mounts, m.Path)
	}
	for _, b := range s.Binds {
		at := b.Dst
		if at == "" {
			at = b.Src
		}
		k.Mounts = append(k.Mounts, path.Clean(at))
	}
	for _, f := range append(s.EtcFiles(), s.Files...) {
		k.Files[f.Path] = f.Data
	}
	return k, nil
}
