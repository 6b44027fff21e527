package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/oci/registry"
	"github.com/rootctl/rootctl/internal/cache/parcel"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/lockfile"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/internal/runner/state"
	"github.com/rootctl/rootctl/suites"
)

const (
	codeFailed      = 1
	codeUsage       = 2
	codeUntrusted   = 3
	codeNotFound    = 4
	codeRunFailed   = 125 // every failure of rootctl itself in run, as env(1) and docker do
	codeInterrupted = 130
)

// interrupted is a cancelled verb that says itself in what state it left things.
type interrupted struct {
	error
	state string
}

func (e *interrupted) Unwrap() error { return e.error }

// exitCode ends the process with a code and no further words.
type exitCode struct{ code int }

func (e *exitCode) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// hinted adds a next step to an error.
type hinted struct {
	error
	hint string
}

func (h *hinted) Unwrap() error { return h.error }
func (h *hinted) Hint() string  { return h.hint }

func withHint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// carriedHint looks through err and all that it wraps, outermost first.
func carriedHint(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok && h.Hint() != "" {
		return h.Hint()
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return carriedHint(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			if h := carriedHint(inner); h != "" {
				return h
			}
		}
	}
	return ""
}

// commandFailed is a command that could not be started in the container, with a shell's code for it.
type commandFailed struct {
	error
	code int
}

func (e *commandFailed) Unwrap() error { return e.error }

// notFound is a name, root or file that is not there.
type notFound struct{ error }

func (e *notFound) Unwrap() error { return e.error }

// codeOf is the one place that turns an error into an exit code.
func codeOf(err error) int {
	var usage *debootstrap.UsageError
	var untrusted *pgp.Untrusted
	var unknownSuite *suites.UnknownSuite
	var unknownPackage *resolve.UnknownPackage
	var missing *notFound
	var flag *flagError
	var badLock *lockfile.Error
	var parcelDamaged *parcel.DamagedError
	switch {
	case errors.As(err, &usage), errors.As(err, &flag), errors.As(err, &badLock):
		return codeUsage
	case errors.As(err, &untrusted), errors.Is(err, archive.ErrNotTrusted), errors.As(err, &parcelDamaged):
		return codeUntrusted
	case errors.As(err, &unknownSuite), errors.As(err, &unknownPackage), errors.As(err, &missing),
		errors.Is(err, archive.ErrNotFound), errors.Is(err, archive.ErrOffline), errors.Is(err, cache.ErrNotFound), errors.Is(err, registry.ErrNotFound):
		return codeNotFound
	}
	return codeFailed
}

// hintOf returns the outermost next step an error carries, or one for causes that have a usual remedy.
func hintOf(err error) string {
	if hint := carriedHint(err); hint != "" {
		return hint
	}
	var record *state.SaveError
	if errors.As(err, &record) && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
		return "the logs of containers lie there, too: rootctl rm frees them; ROOTCTL_STATE names another folder"
	}
	var path *fs.PathError
	switch {
	case errors.As(err, &path) && path.Path == os.Stdout.Name():
		return ""
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "free some space, or put the cache elsewhere with --cache DIR or ROOTCTL_CACHE"
	case errors.Is(err, unix.EROFS):
		return "the folder is read-only: choose another with --cache DIR or ROOTCTL_CACHE"
	case errors.Is(err, fs.ErrPermission):
		return "run it with sudo, or choose a folder of your own with --cache DIR"
	case errors.Is(err, unix.EIO):
		return "the disk cannot be read or written: see dmesg, and put the cache on another with --cache DIR or ROOTCTL_CACHE"
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return "raise the limit on open files, e.g. ulimit -n 4096"
	}
	return ""
}
