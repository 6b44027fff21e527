package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// An OpenPart is a blob that is read while it comes in, by one process at a time. What of it came before a break or a kill
// is kept for a next try, as Ensure's is.
type OpenPart struct {
	*Part
	s    *Store
	d    Digest
	lock *os.File
	gone bool
}

// OpenPart takes the part of the blob d into use, which may be empty, and waits for another process that has it.
func (s *Store) OpenPart(ctx context.Context, d Digest, size int64) (*OpenPart, error) {
	p, err := s.openPart(ctx, d, size)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d.Short(), s.fault(err))
	}
	return p, nil
}

func (s *Store) openPart(ctx context.Context, d Digest, size int64) (*OpenPart, error) {
	if !d.Valid() || size < 0 {
		return nil, badDigest(d)
	}
	if s.readOnly {
		return nil, ErrReadOnly
	}
	l, err := s.lock(ctx, blobLock(d), unix.LOCK_EX, nil)
	if err != nil {
		return nil, err
	}
	f, err := s.freshPart(d)
	if err != nil {
		closeLock(l)
		return nil, err
	}
	p := &OpenPart{Part: &Part{f: f, h: sha256.New(), size: size}, s: s, d: d, lock: l}
	if st, err := f.Stat(); err != nil || st.Size() > size {
		if err = errors.Join(err, p.Reset()); err != nil {
			p.Close()
			return nil, err
		}
	} else {
		p.left = st.Size()
	}
	return p, nil
}

// freshPart opens a part for writing. One that a Sweep has met cannot be; this also tells the next Sweep that it is used.
func (s *Store) freshPart(d Digest) (*os.File, error) {
	if err := os.Chmod(s.partPath(d), partFresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(s.partPath(d), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, partFresh)
}

// Left is how many bytes an earlier try has left.
func (p *OpenPart) Left() int64 { return p.left }

// Reader gives what an earlier try left, then what more brings, which is kept, too. It counts towards Check.
func (p *OpenPart) Reader(more io.Reader) io.Reader {
	old := io.TeeReader(io.NewSectionReader(p.f, 0, p.left), writer(func(b []byte) (int, error) {
		p.h.Write(b)
		p.offset += int64(len(b))
		return len(b), nil
	}))
	return io.MultiReader(old, io.TeeReader(more, p))
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// Check compares all that was read with the digest; a part that is not what it should be is removed.
func (p *OpenPart) Check() error {
	got := Digest(hex.EncodeToString(p.h.Sum(nil)))
	if p.offset == p.size && got == p.d {
		return nil
	}
	if p.offset == p.size {
		p.Remove()
	}
	return &MismatchError{Want: p.d, Got: got, WantSize: p.size, Length: p.offset}
}

// Remove takes the part away: it is used up, or no good.
func (p *OpenPart) Remove() {
	if !p.gone {
		p.gone = true
		os.Remove(p.f.Name())
	}
}

// Close lets go of the part. An empty one is removed.
func (p *OpenPart) Close() {
	if st, err := p.f.Stat(); err == nil && st.Size() == 0 {
		p.Remove()
	}
	p.f.Close()
	closeLock(p.lock)
}
