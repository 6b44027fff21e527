package snapshot

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// A Compression is how a tar is packed for its way.
type Compression string

// The compressions there are.
const (
	Zstd Compression = "zstd"
	Gzip Compression = "gzip"
	XZ   Compression = "xz"
	None Compression = "none"
)

// ZstdEpoch stands for the bytes that Zstd makes of given ones. It is raised by hand when they change, with the library
// or the options below; TestCompressedBytes notices.
const ZstdEpoch = 2

// Blocks of these sizes become a frame of zstd and a stream of xz each. Half as large ones of zstd keep two processors
// busy for longer at both ends, but their sum is larger than what GNU tar makes of bookworm.
const (
	zstdBlock = 8 << 20
	xzBlock   = 16 << 20

	zstdWindow = 8 << 20 // all that a reader has to bear (RFC 8878, 3.1.1.1.2)
)

// Compress returns a writer that packs what is written to it into w. The bytes depend on the content alone. Its Close
// ends the stream and leaves w open.
func Compress(c Compression, w io.Writer) (io.WriteCloser, error) {
	switch c {
	case Zstd:
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(true))
		if err != nil {
			return nil, err
		}
		return &blockWriter{w: w, size: zstdBlock, pack: func(dst, block []byte) ([]byte, error) { return e.EncodeAll(block, dst), nil }}, nil
	case Gzip:
		z, err := gzip.NewWriterLevel(w, 6)
		if err != nil {
			return nil, err
		}
		z.ModTime = time.Unix(0, 0) // which stands for no time; the zero Time is written as another
		return z, nil
	case XZ:
		return &blockWriter{w: w, size: xzBlock, pack: packXZ}, nil
	case None:
		return nopCloser{w}, nil
	}
	return nil, fmt.Errorf("unknown compression %q", string(c))
}

func packXZ(dst, block []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w, err := xz.WriterConfig{CheckSum: xz.CRC64}.NewWriter(out)
	if err == nil {
		_, err = w.Write(block)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compress as xz: %w", err)
	}
	return out.Bytes(), nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
