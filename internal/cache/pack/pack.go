// Package pack has the compressions in which tars leave rootctl. It is apart from the cache because a run, which starts
// with the packages of the cache, needs none of them.
package pack

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Blocks of these sizes become a frame of zstd and a stream of xz each. Half as large ones of zstd keep two processors
// busy for longer at both ends, but their sum is larger than what GNU tar makes of bookworm.
const (
	zstdBlock = 8 << 20
	xzBlock   = 16 << 20

	zstdWindow = 8 << 20 // all that a reader has to bear (RFC 8878, 3.1.1.1.2)
)

// Compress returns a writer that packs what is written to it into w. The bytes depend on the content alone. Its Close
// ends the stream and leaves w open.
func Compress(c snapshot.Compression, w io.Writer) (io.WriteCloser, error) {
	switch c {
	case snapshot.Zstd:
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(zstdWindow), zstd.WithEncoderCRC(true))
		if err != nil {
			return nil, err
		}
		return &blockWriter{w: w, size: zstdBlock, pack: func(dst, block []byte) ([]byte, error) { return e.EncodeAll(block, dst), nil }}, nil
	case snapshot.Gzip:
		z, err := gzip.NewWriterLevel(w, 6)
		if err != nil {
			return nil, err
		}
		z.ModTime = time.Unix(0, 0) // which stands for no time; the zero Time is written as another
		return z, nil
	case snapshot.XZ:
		return &blockWriter{w: w, size: xzBlock, pack: packXZ}, nil
	case snapshot.None:
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
