package snapshot

import "io"

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
// or the options of internal/cache/pack; TestCompressedBytes notices.
const ZstdEpoch = 2

// A Packer makes a writer that packs what is written to it into w. Its Close ends the stream and leaves w open.
type Packer func(c Compression, w io.Writer) (io.WriteCloser, error)
