package snapshot

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	return m.writeTar(ctx, w, tree, true)
}

// WriteTarSum is WriteTar for m.Digest: it compares the whole with that, and not each file, which is quicker. The error
// for another digest still names the file.
func (m *Manifest) WriteTarSum(ctx context.Context, w io.Writer, tree string) error {
	h := sha256.New()
	if err := m.writeTar(ctx, io.MultiWriter(w, h), tree, false); err != nil {
		return err
	}
	got := Digest(hex.EncodeToString(h.Sum(nil)))
	if got == m.Digest {
		return nil
	}
	if err := m.WriteTar(ctx, io.Discard, tree); err != nil {
		return err
	}
	return fmt.Errorf("write tar of %s: its digest is %s, not %s", tree, got.Short(), m.Digest.Short())
}

func (m *Manifest) writeTar(ctx context.Context, w io.Writer, tree string, check bool) error {
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
			j := &job{entry: m.Entries[i], fd: -1, unsure: !check}
			if j.entry.Type == TypeFile {
				fd, err := openContent(root, &j.entry)
				if err != nil {
					return err
				}
				j.fd = fd
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
		if check && j.sum != j.entry.SHA256 {
			return fmt.Errorf("%w: its digest is %s, not %s", errContent, j.sum.Short(), j.entry.SHA256.Short())
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
		return fmt.Errorf("write tar of %s: %w", tree, treeError(err))
	}
	return nil
}

// errContent says that a file's content is not what the manifest has.
var errContent = errors.New("content was changed")

// A TreeError is a tree that is not what its manifest says.
type TreeError struct{ Err error }

func (e *TreeError) Error() string { return "the tree is damaged: " + e.Err.Error() }
func (e *TreeError) Unwrap() error { return e.Err }
func (e *TreeError) Hint() string {
	return "rootctl cache verify --roots finds all that is damaged and takes it out of use; then build or import the root again"
}

// treeError tells what is wrong with a tree from what is wrong with the reader or the writer.
func treeError(err error) error {
	for _, cause := range []error{errContent, errChanged, errNotThere} {
		if errors.Is(err, cause) {
			return &TreeError{err}
		}
	}
	return err
}

// errNotThere says that a file that the manifest has cannot be opened as one.
var errNotThere = errors.New("no such file")

// openContent opens the file e of the tree at root.
func openContent(root int, e *Entry) (int, error) {
	fd, err := openBeneath(root, e.Path)
	switch err {
	case nil:
		return fd, nil
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO, unix.EXDEV:
		return -1, fmt.Errorf("open %s: %w (%w)", e.Path, errNotThere, err)
	}
	return -1, fmt.Errorf("open %s: %w", e.Path, err)
}

// openBeneath opens the file path of the tree at root without following a symlink anywhere.
func openBeneath(root int, path string) (int, error) {
	return openBeneathAs(root, path, unix.O_RDONLY|unix.O_NONBLOCK)
}

func openBeneathAs(root int, path string, flags uint64) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(root, path, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}
