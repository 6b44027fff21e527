package parcel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// A Reader reads a parcel once.
type Reader struct {
	Index Index
	r     io.Reader
}

// Read reads the index and checks its digest. What it says is the word of whoever wrote the parcel.
func Read(ctx context.Context, r io.Reader) (*Reader, error) {
	p := &Reader{r: &stoppable{ctx, r}}
	packed, err := p.index()
	if err != nil {
		return nil, err
	}
	z, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(64<<20))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	if err := p.Index.decode(io.LimitReader(z, maxIndex)); err != nil {
		return nil, damaged("its index cannot be read: %v", err)
	}
	return p, p.Index.check()
}

// first is the name of a parcel's first member. It is compiled when it is first asked: no other verb is to pay for it.
var first = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^rootctl-cache-([0-9]{1,9})/(index-([0-9a-f]{64})\.json\.zst)?`)
})

// index reads the first member and compares it with its name.
func (p *Reader) index() ([]byte, error) {
	head := make([]byte, block)
	n, err := io.ReadFull(p.r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	name, _, _ := strings.Cut(string(head[:min(n, 100)]), "\x00")
	m := first().FindStringSubmatch(name)
	if m == nil {
		next := "give a file that rootctl cache save or rootctl bundle has written"
		if n == block && string(head[257:262]) == "ustar" {
			next += "; a tar of a root is for rootctl import"
		}
		return nil, &FormatError{"it is no file of rootctl cache save", next}
	}
	if schema, err := strconv.Atoi(m[1]); err == nil && schema != Schema {
		return nil, &FormatError{fmt.Sprintf("it has schema %d, and this rootctl knows %d", schema, Schema), "save it anew with this rootctl, or restore it with the one that wrote it"}
	}
	if n < block {
		return nil, cut()
	}
	size, err := strconv.ParseInt(strings.Trim(string(head[124:136]), " \x00"), 8, 64)
	want := snapshot.Digest(m[3])
	if err != nil || size <= 0 || size > maxPacked || !want.Valid() {
		return nil, damaged("its first header")
	}
	if h, err := header(name, size); err != nil || !bytes.Equal(h, head) {
		return nil, damaged("its first header")
	}
	var packed bytes.Buffer
	if _, err := io.CopyN(&packed, p.r, size); err != nil {
		return nil, readError(err)
	}
	if snapshot.Sum(packed.Bytes()) != want {
		return nil, damaged("its index")
	}
	return packed.Bytes(), p.pad(size)
}

// Each calls root and download with the content of each member, in order. What they leave of it is read, too. When it has
// returned nil the whole parcel was what its index says.
func (p *Reader) Each(root func(Root, io.Reader) error, download func(Download, io.Reader) error) error {
	for _, r := range p.Index.Roots {
		if err := p.member(r.name(), r.Size, r.SHA256, func(in io.Reader) error { return root(r, in) }); err != nil {
			return fmt.Errorf("root %s: %w", r.Digest.Short(), err)
		}
	}
	for _, d := range p.Index.Downloads {
		if err := p.member(d.name(), d.Size, d.SHA256, func(in io.Reader) error { return download(d, in) }); err != nil {
			return fmt.Errorf("download %s: %w", d.SHA256.Short(), err)
		}
	}
	if err := p.zeros(2 * block); err != nil {
		return err
	}
	switch n, err := io.ReadFull(p.r, make([]byte, 1)); {
	case n > 0:
		return damaged("something follows its end")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

// member reads one file. If that is damaged it is why, whatever went wrong with what came of it.
func (p *Reader) member(name string, size int64, sum snapshot.Digest, use func(io.Reader) error) error {
	head := make([]byte, block)
	if _, err := io.ReadFull(p.r, head); err != nil {
		return readError(err)
	}
	if want, err := header(name, size); err != nil || !bytes.Equal(head, want) {
		return damaged("a header")
	}
	in := &summed{&exact{p.r, size}, sha256.New()}
	err := use(in)
	if _, rest := io.Copy(io.Discard, in); rest != nil {
		return readError(rest)
	}
	if snapshot.Digest(hex.EncodeToString(in.h.Sum(nil))) != sum {
		return damaged("sha256 of its content")
	}
	if err != nil {
		return err
	}
	return p.pad(size)
}

func (p *Reader) pad(size int64) error { return p.zeros(padding(size)) }

func (p *Reader) zeros(n int64) error {
	b := make([]byte, n)
	if _, err := io.ReadFull(p.r, b); err != nil {
		return readError(err)
	}
	if !bytes.Equal(b, make([]byte, n)) {
		return damaged("its padding")
	}
	return nil
}

// readError makes an early end of the parcel what it is.
func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cut()
	}
	return err
}

// exact reads so many bytes, and an earlier end is no end.
type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(b []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(b[:min(int64(len(b)), e.left)])
	e.left -= int64(n)
	if errors.Is(err, io.EOF) {
		err = nil
		if e.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// summed hashes what is read.
type summed struct {
	r io.Reader
	h hash.Hash
}

func (s *summed) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.h.Write(b[:n])
	return n, err
}
