package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/cache/upper"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/runner/state"
)

func newCommitCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "commit CONTAINER NAME",
		Short: "make a root of what an ended container's copy holds",
		Long: "commit makes a root in the cache of a root and what a container has changed in its kept copy of it (run -d or\n" +
			"run --keep), and names it. The container must have ended; it and its copy stay. Without a change NAME is one\n" +
			"more name of the container's root.",
		Example: "  rootctl run --keep --name work --net=host bionic apt-get install -y gcc\n  rootctl commit work my-bionic\n  rootctl rm work",
		Args:    args(cobra.ExactArgs(2)),
		RunE: func(c *cobra.Command, names []string) error {
			if asJSON {
				a.quiet = true
			}
			if err := a.checkTag(names[1]); err != nil {
				return err
			}
			if done, err := a.enterAgain(); done || err != nil {
				return err
			}
			defer a.catchSignals()()
			return a.each("commit", names[:1], func(_ *state.Dir, k *state.Container) error {
				return a.commit(c.Context(), k, names[1], asJSON)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// commitReport is commit's --json object; its fields are an interface to scripts.
type commitReport struct {
	Name    string         `json:"name"`
	Digest  string         `json:"digest"`
	Parent  string         `json:"parent"`            // digest of the container's root
	Changes int            `json:"changes"`           // as diff lists them
	Dropped map[string]int `json:"dropped,omitempty"` // what a root does not keep, by kind
	Seconds float64        `json:"seconds"`
}

func (a *app) commit(ctx context.Context, c *state.Container, name string, asJSON bool) error {
	start := time.Now()
	if c.Running {
		return withHint(errors.New("it is running"), "rootctl stop %s first; rootctl diff %s shows what it has changed so far", c.ID, c.ID)
	}
	k, err := a.openCopy(ctx, c)
	if err != nil {
		return err
	}
	defer k.Close()
	changes, err := upper.Read(ctx, k.copy)
	if err != nil {
		return err
	}
	report := commitReport{Name: name, Parent: "sha256:" + c.Root, Changes: len(changes.List()), Dropped: map[string]int{}}
	ref, err := debootstrap.RefOfRoot(k.store, k.lease.Root)
	if err == nil && !changes.None() {
		var lease *cache.Lease
		if ref, lease, err = a.commitChanges(ctx, c, k, changes, ref, report.Dropped); err == nil {
			defer lease.Close()
		}
	}
	if err != nil {
		if ctx.Err() != nil { // what of it failed first is chance
			return ctx.Err()
		}
		return err
	}
	if n := changes.Sockets(); n > 0 {
		report.Dropped["socket"] += n
	}
	ref.Name = name
	if old, err := k.store.Ref(name); err == nil && old.Root != ref.Root {
		a.say("%s was %s until now", name, old.Root.Short())
	}
	if err := debootstrap.SetName(k.store, ref, a.now()); err != nil {
		return fmt.Errorf("name %s: %w", name, err)
	}
	if err := a.collectAfter(ctx, k.store); err != nil {
		return err
	}
	report.Digest, report.Seconds = "sha256:"+string(ref.Root), time.Since(start).Seconds()
	return a.reportCommit(report, ref, asJSON)
}

// commitChanges makes the root that the container saw. What parent, its root's ref, says of the archive no longer holds.
func (a *app) commitChanges(ctx context.Context, c *state.Container, k *openedCopy, changes *upper.Changes, parent cache.Ref, dropped map[string]int) (cache.Ref, *cache.Lease, error) {
	var info debootstrap.Info
	return a.newRoot(ctx, k.store, func(tree, _ string) (*cache.Manifest, error) {
		u, err := intake.New(ctx, tree, intake.Options{DiskCannot: a.inside.single()})
		if err != nil {
			return nil, err
		}
		defer u.Close()
		if err := changes.Merge(ctx, u, k.lease.Tree); err != nil {
			return nil, err
		}
		m, err := u.Finish(ctx, tree)
		if err != nil {
			return nil, err
		}
		for kind, n := range u.Dropped() {
			dropped[kind] = n
		}
		now := a.now().UTC().Truncate(time.Second)
		info = debootstrap.Info{Arch: archOf(parent), Unverified: isUnverified(parent), Built: now,
			Committed: &debootstrap.InfoCommit{Parent: k.lease.Root, Name: oneLine(c.RootName), Container: cmp.Or(c.Name, c.ID), Time: now}}
		return m, lookInto(&info, tree, m)
	}, func(root cache.Digest) (cache.Ref, error) { return debootstrap.RememberCommit(k.store, root, info) })
}

func (a *app) reportCommit(r commitReport, ref cache.Ref, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	if r.Digest == r.Parent {
		a.say("nothing was changed: %s is %s, the container's root", r.Name, ref.Root.Short())
	} else {
		changes := "1 change"
		if r.Changes != 1 {
			changes = fmt.Sprintf("%d changes", r.Changes)
		}
		a.say("%s is ready: %s, %s, %.1f s", r.Name, ref.Root.Short(), changes, r.Seconds)
	}
	for kind, n := range r.Dropped {
		a.say("note: left out, for a root does not keep it: %s (%d times)", kind, n)
	}
	a.say("next: %s run %s", a.typed(), r.Name)
	return nil
}
