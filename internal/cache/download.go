package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// A Part is a download on its way: what is written to it is appended. One that a killed process left
// goes on where that one stopped.
type Part struct {
	f            *os.File
	h            hash.Hash
	offset, size int64
	left         int64 // of an earlier process, where a reader begins: OpenPart's
}

// Offset is how many bytes are there: where a Range request begins.
func (p *Part) Offset() int64 { return p.offset }

// Size is how long the whole is.
func (p *Part) Size() int64 { return p.size }

// Reset drops what is there, as for a server that ignores Range.
func (p *Part) Reset() error {
	if err := p.f.Truncate(0); err != nil {
		return err
	}
	p.offset = 0
	p.h.Reset()
	return nil
}

// Write appends b. What goes past the size is refused with a *MismatchError, and nothing of it kept.
func (p *Part) Write(b []byte) (int, error) {
	if int64(len(b)) > p.size-p.offset {
		return 0, &MismatchError{WantSize: p.size, Length: p.offset + int64(len(b))}
	}
	n, err := p.f.WriteAt(b, p.offset)
	p.h.Write(b[:n])
	p.offset += int64(n)
	return n, err
}

// load hashes what an earlier process left.
func (p *Part) load() error {
	n, err := io.Copy(p.h, io.LimitReader(p.f, p.size+1))
	if err != nil {
		return err
	}
	p.offset = n
	if n > p.size {
		return p.Reset()
	}
	return nil
}

func (p *Part) check(d Digest) error {
	if p.offset != p.size {
		return &MismatchError{Want: d, WantSize: p.size, Length: p.offset}
	}
	if got := Digest(hex.EncodeToString(p.h.Sum(nil))); got != d {
		return &MismatchError{Want: d, Got: got, WantSize: p.size, Length: p.offset}
	}
	return nil
}

// HasDownload reports whether the download d of that size is there. It reads no content: what entered
// was checked then.
func (s *Store) HasDownload(d Digest, size int64) bool {
	if !d.Valid() {
		return false
	}
	st, err := os.Lstat(s.path("dl/sha256", string(d)))
	return err == nil && st.Mode().IsRegular() && st.Size() == size
}

// OpenDownload opens the download d, or gives ErrNotFound.
func (s *Store) OpenDownload(d Digest) (*os.File, error) {
	if !d.Valid() {
		return nil, badDigest(d)
	}
	f, err := os.Open(s.path("dl/sha256", string(d)))
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", d.Short(), err)
	}
	return f, nil
}

// Ensure returns when the download d is there. If it is not, fill appends what is missing from
// p.Offset() to p. One process does so while the others wait; should a continued part turn out bad,
// fill is called a second time with an empty one. Content of a wrong size or digest is a
// *MismatchError, a full disk a *FullError, and neither leaves anything. When fill itself fails, what
// came so far is kept for the next try, and Sweep takes it the second time that it finds it untouched.
func (s *Store) Ensure(ctx context.Context, d Digest, size int64, fill func(context.Context, *Part) error) error {
	if !d.Valid() || size < 0 {
		return fmt.Errorf("download %q of %d bytes: bad digest or size", string(d), size)
	}
	if s.HasDownload(d, size) {
		return nil
	}
	err := s.ensure(ctx, d, size, fill)
	if err != nil {
		return fmt.Errorf("download %s: %w", d.Short(), s.fault(err))
	}
	return nil
}

func (s *Store) ensure(ctx context.Context, d Digest, size int64, fill func(context.Context, *Part) error) error {
	if s.readOnly {
		return ErrReadOnly
	}
	l, err := s.lock(ctx, blobLock(d), unix.LOCK_EX, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	if s.HasDownload(d, size) {
		return nil
	}
	path := s.path("dl/sha256", string(d))
	if _, err := os.Lstat(path); err == nil {
		s.log.Warn("download has a wrong size, fetching it again", "sha256", d)
		if err := s.discard(path); err != nil {
			return err
		}
	}
	// One that a Sweep has met cannot be opened for writing; this also tells the next Sweep that it is used.
	if err := os.Chmod(s.partPath(d), partFresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(s.partPath(d), os.O_RDWR|os.O_CREATE, partFresh)
	if err != nil {
		return err
	}
	defer f.Close()
	p := &Part{f: f, h: sha256.New(), size: size}
	if err := s.complete(ctx, p, d, fill); err != nil {
		return err
	}
	// Not flushed: a power cut may lose or tear it, but whoever opens a download checks its digest, and an
	// fsync of each of a hundred makes the unpacking beside it wait for the journal. Seal flushes them all.
	err = f.Chmod(0o444)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return s.fault(err)
}

// complete fills p and checks it. On return p is whole, or kept for later, or gone.
func (s *Store) complete(ctx context.Context, p *Part, d Digest, fill func(context.Context, *Part) error) error {
	err := p.load()
	resumed := p.offset > 0
	for err == nil {
		if p.offset < p.size {
			err = fill(ctx, p)
		}
		if err != nil {
			break
		}
		err = p.check(d)
		if err == nil {
			return nil
		}
		if !resumed {
			break
		}
		resumed = false
		err = p.Reset()
	}
	var bad *MismatchError
	full := errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
	if p.offset == 0 || full || errors.As(err, &bad) {
		os.Remove(p.f.Name())
	}
	return err
}

// VerifyDownload reads the download d and compares its digest. A bad one is removed, so that Ensure
// fetches it again, and a *MismatchError returned.
func (s *Store) VerifyDownload(ctx context.Context, d Digest) error {
	got, err := s.hashDownload(ctx, d)
	if err != nil || got == d {
		return err
	}
	bad := &MismatchError{Want: d, Got: got}
	if s.readOnly {
		return bad
	}
	l, err := s.lock(ctx, blobLock(d), unix.LOCK_EX, nil)
	if err != nil {
		return err
	}
	defer l.Close()
	if got, err = s.hashDownload(ctx, d); err != nil || got == d { // replaced meanwhile
		return err
	}
	s.log.Warn("download is damaged, removed", "sha256", d)
	if err := s.discard(s.path("dl/sha256", string(d))); err != nil {
		return err
	}
	return bad
}

func (s *Store) hashDownload(ctx context.Context, d Digest) (Digest, error) {
	f, err := s.OpenDownload(d)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if err == io.EOF {
			return Digest(hex.EncodeToString(h.Sum(nil))), nil
		}
		if err != nil {
			return "", fmt.Errorf("read download %s: %w", d.Short(), err)
		}
	}
	return "", ctx.Err()
}

// A part's modes: fresh is 0600, and one that a Sweep has met and left is partSeen.
const (
	partFresh = 0o600
	partSeen  = 0o400
)

func (s *Store) partPath(d Digest) string { return s.path("tmp", string(d)+".part") }

func blobLock(d Digest) string { return "blob-" + string(d[:2]) }
