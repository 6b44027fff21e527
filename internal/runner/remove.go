package runner

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

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
			err = unix.ENOENT
			for try := 0; err == unix.ENOENT && try < 3; try++ { // else somebody else removes it, too
				r := remover{ctx: ctx, top: dir}
				err = r.remove(dir, filepath.Base(p), 0)
			}
			unix.Close(dir)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// maxDepth bounds the open directories. Whoever nests deeper only to be in the way finds the rest of the tree moved up
// and removed from there.
const maxDepth = 100

type remover struct {
	ctx   context.Context
	top   int // directory of the tree being removed, once it is open
	moved int
}

// remove removes one name, whatever it is.
func (r *remover) remove(dir int, name string, depth int) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if depth == 0 { // mostly a directory, and often empty
		if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err == nil || err == unix.ENOENT {
			return nil
		}
	}
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM && err != unix.EBUSY {
		return err
	}
	if depth > maxDepth {
		return r.moveUp(dir, name)
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if depth == 0 {
		r.top = fd
	}
	return r.empty(fd, dir, name, depth)
}

// moveUp gives a directory a free name in the top one.
func (r *remover) moveUp(dir int, name string) error {
	for {
		r.moved++
		err := unix.Renameat2(dir, name, r.top, ".rootctl-deep-"+strconv.Itoa(r.moved), unix.RENAME_NOREPLACE)
		if err != unix.EEXIST {
			return err
		}
	}
}

// empty removes the contents of a directory and then itself. Names that a first reading missed, because others went
// meanwhile or were moved up, are found by the next.
func (r *remover) empty(fd, dir int, name string, depth int) error {
	buf := make([]byte, 4096)
	for {
		before, seen := r.moved, 0
		for {
			n, err := unix.ReadDirent(fd, buf)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return err
			}
			if n == 0 {
				break
			}
			_, count, names := unix.ParseDirent(buf[:n], -1, nil)
			seen += count
			for _, n := range names {
				if err := r.remove(fd, n, depth+1); err != nil {
					return err
				}
			}
		}
		err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		if err == nil || err == unix.ENOENT {
			return nil
		}
		if err != unix.ENOTEMPTY || seen == 0 && r.moved == before {
			return err
		}
		if _, err := unix.Seek(fd, 0, 0); err != nil {
			return err
		}
	}
}
