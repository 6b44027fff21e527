package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// container finds a container by name or ID. A name that only a root has is told apart, with the verb for roots.
func (a *app) container(dir *state.Dir, verb, name string) (*state.Container, error) {
	c, err := dir.Find(name)
	var none *state.NotFoundError
	if errors.As(err, &none) && none.Many == 0 {
		a.adopt(dir)
		c, err = dir.Find(name)
	}
	if !errors.As(err, &none) {
		return c, err
	}
	if none.Many == 0 && a.isRoot(name) {
		right := map[string]string{"rm": "untag", "inspect": "show"}[verb]
		if right == "" {
			return nil, withHint(&flagError{fmt.Errorf("%s %s: that is a root, not a container", verb, name)}, "rootctl ps -a lists containers")
		}
		return nil, withHint(&flagError{fmt.Errorf("%s %s: that is a root, not a container", verb, name)}, "rootctl %s %s", right, name)
	}
	missing := &notFound{fmt.Errorf("%s: %w", verb, err)}
	if verb == "rm" && len(none.Near) == 0 && none.Many == 0 {
		return nil, withHint(missing, "rootctl ps -a lists containers; of roots, rootctl untag NAME takes a name away and rootctl cache gc frees room")
	}
	return nil, missing
}

func (a *app) isRoot(name string) bool {
	store, err := a.openAs(cache.Options{Existing: true})
	if err != nil || store.Absent() {
		return false
	}
	_, err = store.Ref(name)
	return err == nil
}

// each does something to all containers that are named, and goes on after a failure.
func (a *app) each(verb string, names []string, do func(*state.Dir, *state.Container) error) error {
	dir, err := a.openState()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		c, err := a.container(dir, verb, n)
		if err == nil {
			if err = do(dir, c); err != nil {
				err = fmt.Errorf("%s %s: %w", verb, n, err)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// eachAtOnce is each for what takes its time: all begin at once.
func (a *app) eachAtOnce(verb string, names []string, do func(*state.Dir, *state.Container) error) error {
	names = slices.Compact(slices.Sorted(slices.Values(names))) // a second signal to one would be another matter
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, n := range names {
		wg.Go(func() { errs[i] = a.each(verb, []string{n}, do) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// eachLeft is each for containers from a list, which may end and be gone meanwhile.
func (a *app) eachLeft(verb string, names []string, do func(*state.Dir, *state.Container) error) error {
	dir, err := a.openState()
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		c, err := dir.Find(n)
		if err == nil {
			err = do(dir, c)
		}
		var none *state.NotFoundError
		if err != nil && !errors.As(err, &none) {
			errs = append(errs, fmt.Errorf("%s %s: %w", verb, n, err))
		}
	}
	return errors.Join(errs...)
}

func newPsCommand(a *app) *cobra.Command {
	var all, asJSON bool
	c := &cobra.Command{
		Use:     "ps",
		Short:   "list the containers that run",
		Example: "  rootctl ps\n  rootctl ps -a --json",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.openState()
			if err != nil {
				return err
			}
			if err := dir.Sweep(); err != nil {
				return err
			}
			a.tidyNet()
			if all {
				a.adopt(dir)
			}
			list, err := dir.List()
			if err != nil {
				return err
			}
			rows := []psRow{}
			for _, c := range list {
				if c.Running || all {
					rows = append(rows, newPsRow(c))
				}
			}
			if asJSON {
				return a.printJSON(rows)
			}
			return a.printContainers(rows)
		},
	}
	c.Flags().BoolVarP(&all, "all", "a", false, "also those that have ended and are kept")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// psRow is a container in ps --json; its fields are an interface to scripts.
type psRow struct {
	ID      string    `json:"id"`
	Name    string    `json:"name,omitempty"`
	Root    string    `json:"root"`
	Digest  string    `json:"digest"`
	Command []string  `json:"command"`
	PID     int       `json:"pid,omitempty"` // while it runs
	Created time.Time `json:"created"`
	Running bool      `json:"running"`
	Code    *int      `json:"code,omitempty"` // once it has ended; none if its monitor was killed
}

func newPsRow(c *state.Container) psRow {
	r := psRow{ID: c.ID, Name: c.Name, Root: c.RootName, Digest: c.Root, Command: c.Spec.Argv, Created: c.Created, Running: c.Running}
	if r.Command == nil {
		r.Command = []string{}
	}
	if c.Running {
		r.PID = c.PID
	} else if c.Status != nil {
		r.Code = &c.Status.Code
	}
	return r
}

func (r psRow) state(now time.Time) string {
	switch {
	case r.Running:
		return "up " + max(0, now.Sub(r.Created)).Round(time.Second).String()
	case r.Code != nil:
		return fmt.Sprintf("exited (%d)", *r.Code)
	}
	return "killed"
}

func (a *app) printContainers(rows []psRow) error {
	lines := [][]string{{"ID", "NAME", "ROOT", "STATE", "PID", "COMMAND"}}
	for _, r := range rows {
		pid := "-"
		if r.PID != 0 {
			pid = fmt.Sprint(r.PID)
		}
		lines = append(lines, []string{r.ID, orDash(r.Name), printable(r.Root), r.state(a.now()), pid, oneLine(strings.Join(r.Command, " "))})
	}
	_, err := a.stdout.Write(setColumns(lines))
	return err
}

func newInspectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "inspect CONTAINER...",
		Short:   "show all that is recorded of containers, as JSON",
		Example: "  rootctl inspect web",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			type inspected struct {
				*state.Container
				Running bool `json:"running"`
			}
			list := []inspected{}
			err := a.each("inspect", names, func(_ *state.Dir, c *state.Container) error {
				list = append(list, inspected{c, c.Running})
				return nil
			})
			return errors.Join(a.printJSON(list), err)
		},
	}
}
