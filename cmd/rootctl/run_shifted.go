package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner"
)

// shiftedRoot has a run use the root's second tree, whose files have a container's ids, made once. The file returned
// holds these ids; without one the root is copied for this run alone.
func (a *app) shiftedRoot(lease *cache.Lease, spec *runner.Spec) (*os.File, error) {
	ids := runner.IDRange{Base: cache.ShiftBase, Size: cache.ShiftSize}
	lock, err := runner.ShareIDs(idsDir, ids)
	if errors.Is(err, runner.ErrIDsTaken) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := a.fitOwners(lease); err != nil { // before they are copied
		lock.Close()
		return nil, err
	}
	tree, err := lease.Shifted(func(from, to string) error {
		a.say("note: ids cannot be mapped on the cache's file system: a second tree of root %s is made for runs, this once", lease.Root.Short())
		return runner.CopyShifted(from, to, ids)
	}, guardTemp)
	if err != nil {
		lock.Close()
		if errors.Is(err, cache.ErrReadOnly) {
			return nil, nil
		}
		return nil, fmt.Errorf("make a tree of the root with a container's ids: %w", err)
	}
	spec.IDs, spec.Shifted, spec.Lower, spec.Unshifted = ids, true, []string{tree}, []string{lease.Tree}
	return lock, nil
}
