package recipe

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is where a recipe lies; no name leads out of it, symbolic links included.
type folder struct{ root *os.Root }

func openFolder(path string) (*folder, error) {
	r, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("read recipe: %w", err)
	}
	return &folder{r}, nil
}

func (f *folder) close() { f.root.Close() }

// read returns the content of a regular file of at most limit bytes.
func (f *folder) read(name string, limit int64) ([]byte, error) {
	file, err := f.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0) // a pipe's open would wait for a writer
	if err != nil {
		return nil, err
	}
	defer file.Close()
	switch st, err := file.Stat(); {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("larger than %d bytes", limit)}
	}
	return b, err
}

// checkBeside judges the name of a file beside the recipe before it is opened.
func checkBeside(name string) (what, next string) {
	const inside = "files and scripts lie in the recipe's folder or below it: copy it there"
	clean := filepath.Clean(name)
	switch {
	case filepath.IsAbs(name):
		return fmt.Sprintf("%s is an absolute path", name), inside
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return fmt.Sprintf("%s lies outside the recipe's folder", name), inside
	}
	return "", ""
}
