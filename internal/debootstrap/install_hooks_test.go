package debootstrap

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A hook that removes what the build has put aside is named as the cause, on one line; without hooks it is none.
func TestHookedAway(t *testing.T) {
	missing := errors.Join(&unpackError{"/usr/bin"}, &unpackError{"/sbin"})
	in := &installer{lock: &Lock{Hooks: []Hook{{Name: "x"}}}}
	err := in.undoFailed(missing)
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "hook") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	if !errors.Is(err, unix.ENOENT) {
		t.Errorf("lost its cause: %v", err)
	}
	in.lock.Hooks = nil
	if err := in.undoFailed(missing); errors.As(err, &hint) {
		t.Errorf("blames hooks that are not there: %v", err)
	}
}

type unpackError struct{ name string }

func (e *unpackError) Error() string { return "open " + e.name + ": no such file" }
func (e *unpackError) Unwrap() error { return unix.ENOENT }
