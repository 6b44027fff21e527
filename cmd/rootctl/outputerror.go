package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// outputError is a file or folder of the user's, not of the cache, that could not be written.
type outputError struct {
	path string // "-": standard output
	err  error
}

// cannotWrite is nil for nil, and leaves alone what says already which output it was.
func cannotWrite(path string, err error) error {
	var already *outputError
	if err == nil || errors.As(err, &already) || carriedHint(err) != "" {
		return err
	}
	return &outputError{path, err}
}

func (e *outputError) Unwrap() error { return e.err }

func (e *outputError) Error() string {
	name, cause := e.path, e.err
	if name == "-" {
		name = "standard output"
	}
	var path *fs.PathError
	if errors.As(cause, &path) {
		cause = path.Err // what it names is the output, or a file in it or beside it that has no other name
	}
	return fmt.Sprintf("write %s: %v", name, cause)
}

// Hint is a next step that leaves the cache where it is.
func (e *outputError) Hint() string {
	dir := filepath.Dir(e.path)
	switch {
	case e.path == "-":
		return ""
	case errors.Is(e.err, unix.ENOSPC), errors.Is(e.err, unix.EDQUOT):
		return "free some space there, or name a place on another disk with -o"
	case errors.Is(e.err, unix.EROFS):
		return "it is read-only there: name another place with -o"
	case errors.Is(e.err, fs.ErrPermission):
		return "run it with sudo, or name a place of your own with -o"
	case errors.Is(e.err, fs.ErrNotExist):
		return "make the folder first: mkdir -p " + shellWord(dir)
	case errors.Is(e.err, unix.EIO):
		return "the disk of " + dir + " cannot be written: see dmesg, or name a place on another with -o"
	}
	return ""
}

// outputFault picks out of the errors of a copy, which may be the cache's as well, those of a place that takes no more.
func outputFault(path string, err error) error {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS, fs.ErrPermission} {
		if errors.Is(err, e) {
			return cannotWrite(path, err)
		}
	}
	return err
}
