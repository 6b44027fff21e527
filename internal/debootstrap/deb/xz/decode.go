package xz

// afterLiteral is the state after a literal, by the state before; LZMA has twelve states.
const afterLiteral = "\x00\x00\x00\x00\x01\x02\x03\x04\x05\x06\x04\x05\x00\x00\x00\x00"

// decode decodes symbols into w until w.pos reaches limit; more is how many bytes the chunk goes on
// after that, in which a match may end. It reports false on data that is not LZMA.
//
// The loop over symbols is one long function on purpose: literals are most of the work, and a call
// for each would move the range decoder's state out of registers and back.
func (d *lzma) decode(w *window, limit, more int) bool {
	rng, code, ip := d.rng, d.code, d.ip
	in, buf := &d.in, w.buf
	pos := w.pos
	state := d.state
	rep0, rep1, rep2, rep3 := d.reps[0], d.reps[1], d.reps[2], d.reps[3]
	if d.pending > 0 {
		n := min(d.pending, limit-pos)
		d.pending -= n
		w.pos = pos
		w.copy(int(rep0)+1, n)
		pos += n
	}
	for pos < limit {
		if ip > d.size {
			return false
		}
		ps := uint32(pos) & d.pbMask
		p := &d.isMatch[(state<<4|ps)&255]
		rng, code, ip = normal(in, rng, code, ip)
		v := uint32(*p)
		bound := rng >> probBits * v
		if code < bound {
			rng = bound
			*p = uint16(v + (1<<probBits-v)>>probShift)
			var prev uint32
			if pos > 0 {
				prev = uint32(buf[pos-1])
			} else if w.wrapped {
				prev = uint32(buf[w.size-1])
			}
			offset := 0x300 * (uint32(pos)&d.lpMask<<d.lc + prev>>(8-d.lc))
			lit := (*[0x400]uint16)(d.literals[offset : offset+0x400])
			sym, zero := uint32(1), uint32(0)
			if state >= 7 {
				from := pos - int(rep0) - 1
				if from < 0 {
					if from += w.size; !w.wrapped || from < 0 {
						return false
					}
				}
				// After a match the byte it would have gone on with picks the tree, while it agrees.
				match, offs := uint32(buf[from])<<1, uint32(0x100)
				for sym < 0x100 {
					rng, code, ip = normal(in, rng, code, ip)
					matchBit := match & offs
					zero, rng, code = even(&lit[(offs+matchBit+sym)&0x3ff], rng, code)
					sym = sym<<1 + 1 + zero
					offs &= matchBit ^ zero
					match <<= 1
				}
			} else {
				for sym < 0x100 {
					rng, code, ip = normal(in, rng, code, ip)
					zero, rng, code = even(&lit[sym&0xff], rng, code)
					sym = sym<<1 + 1 + zero
				}
			}
			buf[pos] = byte(sym)
			pos++
			state = uint32(afterLiteral[state&15])
			continue
		}
		rng -= bound
		code -= bound
		*p = uint16(v - v>>probShift)
		var b, n uint32
		b, rng, code, ip = bit(&d.isRep[state&15], in, rng, code, ip)
		if b == 0 {
			rep3, rep2, rep1 = rep2, rep1, rep0
			n, rng, code, ip = d.matchLength.length(ps, in, rng, code, ip)
			rep0, rng, code, ip = d.distance(n, in, rng, code, ip)
			if state < 7 {
				state = 7
			} else {
				state = 10
			}
		} else {
			b, rng, code, ip = bit(&d.isG0[state&15], in, rng, code, ip)
			if b == 0 {
				b, rng, code, ip = bit(&d.isRep0Long[(state<<4|ps)&255], in, rng, code, ip)
				n = 1
			} else {
				b, rng, code, ip = bit(&d.isG1[state&15], in, rng, code, ip)
				if b == 0 {
					rep0, rep1 = rep1, rep0
				} else {
					b, rng, code, ip = bit(&d.isG2[state&15], in, rng, code, ip)
					if b == 0 {
						rep0, rep1, rep2 = rep2, rep0, rep1
					} else {
						rep0, rep1, rep2, rep3 = rep3, rep0, rep1, rep2
					}
				}
				b = 1
			}
			if b == 1 {
				n, rng, code, ip = d.repeatLengths.length(ps, in, rng, code, ip)
				if state < 7 {
					state = 8
				} else {
					state = 11
				}
			} else if state < 7 {
				state = 9
			} else {
				state = 11
			}
		}
		// rep0 may be 1<<32-1, LZMA's end mark, which LZMA2 does not know.
		if int(rep0) >= w.dict || int(rep0) >= pos && !w.wrapped {
			return false
		}
		length := int(n)
		if room := limit - pos; length > room {
			if d.pending = length - room; d.pending > more {
				return false
			}
			length = room
		}
		w.pos = pos
		w.copy(int(rep0)+1, length)
		pos += length
	}
	d.rng, d.code, d.ip = rng, code, ip
	d.state = state
	d.reps = [4]uint32{rep0, rep1, rep2, rep3}
	w.pos = pos
	return true
}
