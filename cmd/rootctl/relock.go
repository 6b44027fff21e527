package main

import (
	"context"
	"errors"
)

// relock is lock --update and lock --check.
func (a *app) relock(_ context.Context, _ *selection, _ *lockFlags, _ string) error {
	return errors.New("not yet")
}
