// Package xz decompresses .xz files (the .xz file format, version 1.2.1) as Debian packages have
// them: any number of streams and blocks, LZMA2 as the only filter. Every checksum, size and
// index in a file is verified; memory is the dictionary and 200 KB.
//
// It is its own because decompression is most of unpacking's time and github.com/ulikunitz/xz,
// which reads the same files, takes nearly twice as long.
package xz

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
)

var (
	errCorrupt = errors.New("xz: corrupt data")
	errFormat  = errors.New("xz: not an xz file")
	errClosed  = errors.New("xz: read before reset")
)

// A DictionaryError says that a file needs a larger dictionary than its reader allows.
type DictionaryError struct{ Size, Limit int64 }

func (e *DictionaryError) Error() string {
	return fmt.Sprintf("xz: needs a dictionary of %d bytes, more than the %d allowed", e.Size, e.Limit)
}

// An UnsupportedError names a part of the format that is not read here.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return "xz: " + e.What + " is not supported" }

// A Reader decompresses one file after another. Its zero value is ready for Reset. It needs
// Input to be buffered, and reads nothing past the file's end, which must be the input's.
type Reader struct {
	in            source
	maxDictionary int64
	err           error
	lzma2

	next  func(*Reader) error // what to read when nothing is pending
	flags [2]byte             // of the stream
	check hash.Hash           // over the block's data; nil for none

	block  block
	blocks records // as decoded
}

// Input is what a Reader reads from; a *bufio.Reader is one.
type Input interface {
	io.Reader
	io.ByteReader
}

// keptWindow is how large a window one file leaves to the next: for dictionaries up to xz -7's.
const keptWindow = 17 << 20

// Reset makes z read a new file, whose dictionaries must have at most maxDictionary bytes. Buffers
// are kept, unless the last file needed uncommonly large ones.
func (z *Reader) Reset(in Input, maxDictionary int64) {
	if len(z.buf) > keptWindow {
		z.buf = nil
	}
	z.in = source{r: in}
	z.maxDictionary = maxDictionary
	z.err = nil
	z.window.reset()
	z.next = (*Reader).firstStream
}

// Read implements io.Reader. At the end of the file, and only with all of it verified, it returns io.EOF.
func (z *Reader) Read(p []byte) (int, error) {
	for z.err == nil && z.read == z.pos {
		if len(p) == 0 {
			return 0, nil
		}
		if z.next == nil {
			return 0, errClosed
		}
		z.err = z.next(z)
	}
	if z.read == z.pos {
		return 0, z.err
	}
	n := copy(p, z.buf[z.read:z.pos])
	z.read += n
	return n, nil
}

const headerMagic, footerMagic = "\xfd7zXZ\x00", "YZ"

// firstStream expects a stream right away.
func (z *Reader) firstStream() error {
	var h [12]byte
	if err := z.in.full(h[:]); err != nil {
		return err
	}
	return z.stream(h)
}

// stream takes a stream header.
func (z *Reader) stream(h [12]byte) error {
	if string(h[:6]) != headerMagic {
		return errFormat
	}
	if crc32.ChecksumIEEE(h[6:8]) != le32(h[8:]) {
		return errCorrupt
	}
	z.flags = [2]byte(h[6:8])
	if h[6] != 0 {
		return &UnsupportedError{"a stream with unknown flags"}
	}
	switch h[7] {
	case 0:
		z.check = nil
	case 1:
		z.check = crc32.NewIEEE()
	case 4:
		z.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		z.check = sha256.New()
	default:
		return &UnsupportedError{fmt.Sprintf("integrity check %d", h[7])}
	}
	z.blocks = newRecords()
	z.next = (*Reader).blockOrIndex
	return nil
}

// footer ends a stream whose index took n bytes.
func (z *Reader) footer(n int64) error {
	var f [12]byte
	if err := z.in.full(f[:]); err != nil {
		return err
	}
	if string(f[10:]) != footerMagic || crc32.ChecksumIEEE(f[4:10]) != le32(f[:]) ||
		(int64(le32(f[4:]))+1)*4 != n || [2]byte(f[8:10]) != z.flags {
		return errCorrupt
	}
	z.next = (*Reader).nextStream
	return nil
}

// nextStream passes over the padding after a stream, in fours, up to the next one or the end.
func (z *Reader) nextStream() error {
	var h [12]byte
	for {
		first, err := z.in.r.ReadByte()
		if err != nil {
			return err // io.EOF is the file's end
		}
		h[0] = first
		if err := z.in.full(h[1:4]); err != nil {
			return err
		}
		if le32(h[:]) != 0 {
			break
		}
	}
	if err := z.in.full(h[4:]); err != nil {
		return err
	}
	return z.stream(h)
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
