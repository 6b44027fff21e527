package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// removePaths removes files and whole trees, by directory descriptors and without following links. What is not there
// is no error; one path that cannot be removed does not keep the others.
func removePaths(ctx context.Context, paths []string) error {
	var errs []error
	for _, p := range paths {
		dir, err := unix.Open(filepath.Dir(p), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err == unix.ENOENT {
			continue
		}
		if err == nil {
			err = removeAt(ctx, dir, filepath.Base(p), 0)
			unix.Close(dir)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// maxDepth bounds the descriptors that a tree can make us hold. Deeper trees are refused: a path of the root may be
// 4096 bytes long, but names can be nested without end by relative steps.
const maxDepth = 4000

func removeAt(ctx context.Context, dir int, name string, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM && err != unix.EBUSY {
		return err
	}
	if depth > maxDepth {
		return unix.ELOOP
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, n := range names {
			if err := removeAt(ctx, fd, n, depth+1); err != nil {
				return err
			}
		}
		if err != nil || len(names) == 0 {
			break
		}
	}
	err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
	if err == unix.ENOENT {
		return nil
	}
	return err
}
