package cache

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/oci"
)

func (s *Store) blobPath(d Digest) string { return s.path("oci", oci.BlobFolder, string(d)) }

// writeBlob makes a blob of what fill writes. The caller holds a StoreLock until a record names it.
func (s *Store) writeBlob(fill func(io.Writer) error) (Digest, int64, error) {
	f, err := s.createLocked(s.path("tmp", randomName()+".new"), 0o600)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(NewEager(f), h), 256<<10)
	err = fill(w)
	if err == nil {
		err = w.Flush()
	}
	var size int64
	if err == nil {
		size, err = f.Seek(0, io.SeekCurrent)
	}
	if err == nil {
		err = f.Chmod(0o444)
	}
	d := Digest(hex.EncodeToString(h.Sum(nil)))
	return d, size, s.publish(f, s.blobPath(d), err)
}

// An Eager writes a file whose content the disk may have at once, so that the fsync at its end waits for less.
type Eager struct {
	f       *os.File
	n, told int64
}

// NewEager writes to f from its beginning.
func NewEager(f *os.File) *Eager { return &Eager{f: f} }

const eagerStep = 4 << 20

func (e *Eager) Write(b []byte) (int, error) {
	n, err := e.f.Write(b)
	e.n += int64(n)
	if e.n-e.told >= eagerStep {
		_ = unix.SyncFileRange(int(e.f.Fd()), e.told, e.n-e.told, unix.SYNC_FILE_RANGE_WRITE) // fsync tells what goes wrong
		e.told = e.n
	}
	return n, err
}

// OpenBlob opens a blob after all of it was read and compared with its digest. One that is damaged is removed and, like
// one that is not there, gives ErrNotFound.
func (s *Store) OpenBlob(ctx context.Context, d Digest, size int64) (*os.File, error) {
	if !d.Valid() {
		return nil, badDigest(d)
	}
	f, err := openRegular(s.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	got, n, err := hashFile(ctx, f)
	if err == nil && (got != d || n != size) {
		err = s.dropBlob(ctx, d, f)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("blob %s: %w", d.Short(), err)
	}
	return f, nil
}

// dropBlob takes the damaged blob f away, unless another has taken its place, and returns ErrNotFound.
func (s *Store) dropBlob(ctx context.Context, d Digest, f *os.File) error {
	s.log.Warn("blob is damaged", "sha256", d)
	if s.readOnly {
		return ErrNotFound
	}
	l, err := s.lock(ctx, blobLock(d), unix.LOCK_EX, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	if isAt(f, s.blobPath(d)) {
		if err := s.discard(s.blobPath(d)); err != nil {
			return err
		}
	}
	return ErrNotFound
}

// openRegular opens a file and nothing else.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func hashFile(ctx context.Context, f io.Reader) (Digest, int64, error) {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	var size int64
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		size += int64(n)
		if err == io.EOF {
			return Digest(hex.EncodeToString(h.Sum(nil))), size, nil
		}
		if err != nil {
			return "", size, err
		}
	}
	return "", size, ctx.Err()
}
