package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner"
)

// A folder is one on its way: made beside its place, guarded so that a kill leaves nothing of it, and renamed when it is
// finished. An empty folder that another file system is mounted on is filled where it is.
type folder struct {
	path, at string
	guard    *runner.Guard
	inPlace  bool
	done     bool
}

// createFolder begins to make path, which is missing or an empty folder.
func (a *app) createFolder(path string) (*folder, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	names, err := folderNames(abs)
	if errors.Is(err, syscall.ENOTDIR) {
		return nil, withHint(&flagError{fmt.Errorf("write %s: it is no folder", path)}, "remove it, or name another with -o")
	}
	if err != nil {
		return nil, cannotWrite(path, err)
	}
	if len(names) > 0 && !(len(names) == 1 && names[0] == "lost+found" && isMount(abs)) {
		return nil, withHint(&flagError{fmt.Errorf("write %s: the folder is not empty: it has %s", path, strconv.Quote(names[0]))}, "empty it, or name another with -o")
	}
	d := &folder{path: abs, at: besides(abs)}
	if isMount(abs) {
		d.at, d.inPlace = abs, true
		return d, nil
	}
	// The guard first: a kill between the two would leave the folder. Nobody else has its name, which is random.
	if d.guard, err = runner.StartGuard(runner.Keep{Remove: []string{d.at}}); err != nil {
		return nil, fmt.Errorf("guard the folder: %w", err)
	}
	if err := os.Mkdir(d.at, 0o700); err != nil {
		d.guard.Close()
		return nil, cannotWrite(abs, err)
	}
	return d, nil
}

// isMount reports whether another file system begins at the folder.
func isMount(path string) bool {
	a, err := os.Stat(path)
	b, err2 := os.Stat(filepath.Dir(path))
	if err != nil || err2 != nil {
		return false
	}
	return a.Sys().(*syscall.Stat_t).Dev != b.Sys().(*syscall.Stat_t).Dev || path == "/"
}

// finish makes the folder appear, whole and on the disk.
func (d *folder) finish() error {
	if err := cache.Flush(d.at); err != nil {
		return err
	}
	if !d.inPlace {
		if err := os.Rename(d.at, d.path); err != nil {
			return err
		}
	}
	d.done = true
	return nil
}

// close leaves nothing of a folder that is not finished.
func (d *folder) close() {
	switch {
	case d.done:
	case d.inPlace:
		names, _ := folderNames(d.at)
		for _, n := range names {
			if !strings.HasPrefix(n, "lost+found") {
				os.RemoveAll(filepath.Join(d.at, n))
			}
		}
	default:
		os.RemoveAll(d.at)
	}
	if d.guard != nil {
		d.guard.Close()
	}
}
