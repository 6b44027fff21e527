package deb

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"

	"github.com/rootctl/rootctl/internal/debootstrap/deb/xz"
)

const (
	// MaxDictionary bounds the dictionary of xz and lzma: that of xz -9.
	MaxDictionary = 64 << 20
	// maxWindow bounds zstd's window: that of zstd --ultra -22, dpkg's highest level.
	maxWindow = 128 << 20
)

// A LimitError says that a stream decompresses to more bytes than its reader allows.
type LimitError struct{ Limit int64 }

func (e *LimitError) Error() string {
	return fmt.Sprintf("decompresses to more than %d bytes", e.Limit)
}

// A Pool keeps idle decoders, which hold large buffers, for the next package. The zero value is
// ready; a Pool may be used from several goroutines and must not be copied.
type Pool struct {
	buffers, gzips, xzs, zstds sync.Pool
}

// A codec is a decoder that can go back to its pool.
type codec struct {
	io.Reader
	release func()
}

// Decompress returns the plain form of r, compressed as a member's suffix says: "", "gz", "xz",
// "zst", "bz2" or "lzma". Past limit bytes, reads fail with a *LimitError. Close does not close r.
func (p *Pool) Decompress(r io.Reader, compression string, limit int64) (io.ReadCloser, error) {
	in, _ := p.buffers.Get().(*bufio.Reader)
	if in == nil {
		in = bufio.NewReaderSize(nil, 64<<10)
	}
	in.Reset(r)
	c, err := p.open(in, compression)
	if err != nil {
		p.buffers.Put(in)
		return nil, err
	}
	return &stream{codec: c, limit: limit, left: limit, done: func() {
		in.Reset(nil)
		p.buffers.Put(in)
	}}, nil
}

func (p *Pool) open(in *bufio.Reader, compression string) (codec, error) {
	switch compression {
	case "":
		return codec{in, func() {}}, nil
	case "gz":
		return p.gzip(in)
	case "zst":
		return p.zstd(in)
	case "bz2":
		return codec{bzip2.NewReader(in), func() {}}, nil
	case "xz":
		return p.xz(in), nil
	case "lzma":
		r, err := lzma.ReaderConfig{DictCap: MaxDictionary}.NewReader(in)
		return codec{r, func() {}}, err
	}
	return codec{}, formatError("unknown compression %q", compression)
}

func (p *Pool) gzip(in io.Reader) (codec, error) {
	z, _ := p.gzips.Get().(*gzip.Reader)
	if z == nil {
		z = new(gzip.Reader)
	}
	if err := z.Reset(in); err != nil {
		return codec{}, err
	}
	return codec{z, func() { p.gzips.Put(z) }}, nil
}

func (p *Pool) xz(in *bufio.Reader) codec {
	z, _ := p.xzs.Get().(*xz.Reader)
	if z == nil {
		z = new(xz.Reader)
	}
	z.Reset(in, MaxDictionary)
	return codec{z, func() {
		z.Reset(nil, 0)
		p.xzs.Put(z)
	}}
}

func (p *Pool) zstd(in io.Reader) (codec, error) {
	z, _ := p.zstds.Get().(*zstd.Decoder)
	var err error
	if z == nil {
		z, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
	} else {
		err = z.Reset(in)
	}
	if err != nil {
		return codec{}, err
	}
	return codec{z, func() {
		if z.Reset(nil) == nil {
			p.zstds.Put(z)
		}
	}}, nil
}

// stream counts what a codec yields.
type stream struct {
	codec
	limit, left int64
	done        func()
	err         error
}

func (s *stream) Read(b []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.Reader.Read(b)
	if s.left -= int64(n); s.left < 0 {
		n += int(s.left)
		err = &LimitError{Limit: s.limit}
	}
	s.err = err
	return n, err
}

// Close gives the decoder back; reading after it is an error.
func (s *stream) Close() error {
	if s.done != nil {
		s.release()
		s.done()
		s.done, s.err = nil, io.ErrClosedPipe
		s.codec = codec{}
	}
	return nil
}
