package xz

import "encoding/binary"

const (
	minDictionary = 4096
	// slack follows the dictionary's bytes in the window: a short match is copied eight bytes at
	// a time, past its end. A multiple of 16, so that positions keep their low bits as they wrap.
	slack = 64
)

// A window is the ring buffer matches copy from: the dictionary and slack. Decoded bytes are
// read from it before it wraps over them.
type window struct {
	buf     []byte // size bytes and eight spare ones
	size    int
	dict    int
	pos     int  // where the next byte goes, in [0, size]
	read    int  // bytes before pos and from here have not been handed out yet
	wrapped bool // pos has been at size since the last reset
}

// setDictionary makes room, in the buffer there is if it is large enough.
func (w *window) setDictionary(dict int) {
	w.dict = max(dict, minDictionary)
	w.size = w.dict + slack
	if len(w.buf) < w.size+8 {
		w.buf = make([]byte, w.size+8)
	}
	w.reset()
}

// reset forgets the dictionary; everything must have been handed out.
func (w *window) reset() { w.pos, w.read, w.wrapped = 0, 0, false }

// room returns how far the window may be filled now, going back to its beginning at its end.
func (w *window) room(n int) (limit int) {
	if w.pos == w.size {
		w.pos, w.read, w.wrapped = 0, 0, true
	}
	return min(w.pos+n, w.size)
}

// copy repeats n bytes from dist back. The caller has checked dist against what was decoded,
// and n against the room.
func (w *window) copy(dist, n int) {
	buf, pos := w.buf, w.pos
	from := pos - dist
	if from < 0 {
		from += w.size
		if first := min(n, w.size-from); first < n {
			copy(buf[pos:pos+first], buf[from:from+first])
			pos += first
			n -= first
			from = 0
		} else {
			copy(buf[pos:pos+n], buf[from:from+n])
			return
		}
	}
	switch {
	case dist >= 8 && n <= 32:
		for ; n > 0; n -= 8 {
			binary.LittleEndian.PutUint64(buf[pos:pos+8], binary.LittleEndian.Uint64(buf[from:from+8]))
			pos += 8
			from += 8
		}
	case n <= 8:
		for ; n > 0; n-- {
			buf[pos] = buf[from]
			pos++
			from++
		}
	default: // doubling what there is to copy from
		for n > 0 {
			k := copy(buf[pos:pos+n], buf[from:pos])
			pos += k
			n -= k
		}
	}
}
