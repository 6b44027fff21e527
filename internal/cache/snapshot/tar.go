package snapshot

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// A tarWriter writes the canonical tar entry by entry.
type tarWriter struct {
	w        io.Writer
	n        int64
	headers  headerWriter
	progress func(int64)
}

func (t *tarWriter) write(b []byte) error {
	_, err := t.w.Write(b)
	t.n += int64(len(b))
	return err
}

// entry writes e; each gives its content, exactly e.Size bytes.
func (t *tarWriter) entry(e *Entry, each func(func([]byte) error) error) error {
	if err := t.write(t.headers.header(e)); err != nil {
		return err
	}
	if e.Type == TypeFile {
		if err := each(t.write); err != nil {
			return err
		}
		if err := t.write(zeros[:pad(e.Size)]); err != nil {
			return err
		}
	}
	if t.progress != nil {
		t.progress(t.n)
	}
	return nil
}

func (t *tarWriter) end() error { return t.write(zeros[:]) }

// WriteTar writes the canonical tar: contents from tree, all else from m. A file that is not what m
// says is an error, so a damaged root never leaves the cache as a whole one.
func (m *Manifest) WriteTar(ctx context.Context, w io.Writer, tree string) error {
	if err := m.Check(); err != nil {
		return err
	}
	root, err := unix.Open(tree, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", tree, err)
	}
	defer unix.Close(root)
	out := bufio.NewWriterSize(w, chunkSize)
	t := &tarWriter{w: out}
	err = run(ctx, workers(0), func(emit func(*job) error) error {
		for i := range m.Entries {
			j := &job{entry: m.Entries[i], fd: -1}
			if j.entry.Type == TypeFile {
				if j.fd, err = openBeneath(root, j.entry.Path); err != nil {
					return fmt.Errorf("open %s: %w", j.entry.Path, err)
				}
			}
			if err := emit(j); err != nil {
				return err
			}
		}
		return nil
	}, func(j *job, each func(func([]byte) error) error) error {
		if err := t.entry(&j.entry, each); err != nil {
			return err
		}
		if j.sum != j.entry.SHA256 {
			return fmt.Errorf("content has digest %s, not %s", j.sum.Short(), j.entry.SHA256.Short())
		}
		return nil
	})
	if err == nil {
		err = t.end()
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write tar of %s: %w", tree, err)
	}
	return nil
}

// openBeneath opens the file path of the tree at root without following a symlink anywhere.
func openBeneath(root int, path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(root, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}
