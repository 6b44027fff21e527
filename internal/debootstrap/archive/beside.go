package archive

import (
	"context"
	"fmt"
)

// With gives a with others beside it, each with keys and mirrors of its own: their pockets' files are fetched from them.
// No two pockets have one name.
func (a *Archive) With(others ...*Archive) *Archive {
	out := *a
	out.Beside = append(out.Beside[:len(out.Beside):len(out.Beside)], others...)
	return &out
}

// having is the one beside a that has a pocket.
func (a *Archive) having(pocket, path string) (*Archive, error) {
	for _, b := range a.Beside {
		if b.Pocket(pocket) != nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("fetch %s: no pocket %q: %w", path, pocket, ErrNotFound)
}

// refreshBeside is Refresh for those beside.
func (a *Archive) refreshBeside(ctx context.Context) (changed bool, err error) {
	for _, b := range a.Beside {
		c, err := b.Refresh(ctx)
		changed = changed || c
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}
