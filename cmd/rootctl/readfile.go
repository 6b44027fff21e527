package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// maxUserFile bounds configuration, keyrings and the like; the largest bundle of authorities is a fraction of it.
const maxUserFile = 16 << 20

// errNotRegular is for a pipe or a device: it may never end, and what is read once more is not there again.
var errNotRegular = errors.New("not a regular file")

// readFile reads a file that the user or the administrator named; symbolic links to a file will do.
func readFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0) // a pipe's open would wait for a writer
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case st.IsDir():
		return nil, &fs.PathError{Op: "read", Path: name, Err: unix.EISDIR}
	case !st.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errNotRegular}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxUserFile+1))
	if err == nil && len(b) > maxUserFile {
		err = fmt.Errorf("read %s: larger than %d bytes", name, maxUserFile)
	}
	return b, err
}
