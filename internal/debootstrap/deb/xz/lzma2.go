package xz

import "io"

// A lzma2 decodes a stream of LZMA2 chunks into a window.
type lzma2 struct {
	lzma
	window

	left            int  // bytes the current chunk still yields
	copied          bool // the current chunk is not compressed
	ended           bool
	needsDictionary bool // until a chunk resets it
	needsProperties bool // until a chunk brings them
}

// step bytes are decoded at a time, few enough to be still in the cache when they are read.
const step = 32 << 10

// start begins a new stream with a dictionary of that many bytes.
func (z *lzma2) start(dict int) {
	z.setDictionary(dict)
	z.left, z.ended = 0, false
	z.needsDictionary, z.needsProperties = true, true
}

// advance decodes a piece, or notices the stream's end. Everything before must have been read.
func (z *lzma2) advance(in *source) error {
	if z.left == 0 {
		return z.header(in)
	}
	limit := z.room(min(z.left, step))
	n := limit - z.pos
	if z.copied {
		if err := in.full(z.buf[z.pos:limit]); err != nil {
			return err
		}
		z.pos = limit
	} else if !z.decode(&z.window, limit, z.left-n) {
		return errCorrupt
	}
	z.left -= n
	if z.left == 0 && !z.copied && !z.finished() {
		return errCorrupt
	}
	return nil
}

// header begins the next chunk.
func (z *lzma2) header(in *source) error {
	control, err := in.ReadByte()
	if err != nil {
		return err
	}
	switch {
	case control == 0:
		z.ended = true
		return nil
	case control >= 0xe0 || control == 1:
		z.needsDictionary, z.needsProperties = false, true
		z.window.reset()
	case z.needsDictionary || control > 2 && control < 0x80:
		return errCorrupt
	}
	var h [5]byte
	if control < 0x80 {
		z.copied = true
		err := in.full(h[:2])
		z.left = int(h[0])<<8 + int(h[1]) + 1
		return err
	}
	z.copied = false
	if err := in.full(h[:4]); err != nil {
		return err
	}
	z.left = int(control&0x1f)<<16 + int(h[0])<<8 + int(h[1]) + 1
	size := int(h[2])<<8 + int(h[3]) + 1
	if control >= 0xc0 {
		properties, err := in.ReadByte()
		if err != nil {
			return err
		}
		if !z.setProperties(properties) {
			return errCorrupt
		}
		z.needsProperties = false
	}
	if z.needsProperties {
		return errCorrupt
	}
	if control >= 0xa0 {
		z.lzma.reset()
	}
	if err := in.full(z.in[:size]); err != nil {
		return err
	}
	if !z.begin(size) {
		return errCorrupt
	}
	return nil
}

// A source is the compressed stream, with a count of what was taken from it.
type source struct {
	r interface {
		io.Reader
		io.ByteReader
	}
	n int64
}

// ReadByte makes a source an io.ByteReader. The stream's end is unexpected here.
func (s *source) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		s.n++
	}
	return b, err
}

func (s *source) full(p []byte) error {
	n, err := io.ReadFull(s.r, p)
	s.n += int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
