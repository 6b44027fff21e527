package xz

const (
	probBits  = 11
	probInit  = 1 << (probBits - 1)
	probShift = 5 // how fast probabilities follow
	rangeTop  = 1 << 24

	maxChunk = 1 << 16 // compressed bytes of an LZMA2 chunk, at most
)

// An input holds one chunk's compressed bytes. Indexes are taken modulo its size, so that reading
// past the chunk's end, noticed a little later, touches nothing else.
type input = [maxChunk]byte

// A lzma decodes the LZMA symbols of LZMA2 chunks: its probabilities and last distances live as
// long as the stream does not reset them.
//
// The range decoder's state (rng, code and ip, the index of the next byte) stays in local variables and
// travels through arguments and results, which Go keeps in registers; that and arrays whose
// indexes need no check are what makes this fast.
type lzma struct {
	lc, lpMask, pbMask uint32

	state uint32
	reps  [4]uint32 // last distances, less one

	isMatch, isRep0Long        [16 * 16]uint16 // by state and position
	isRep, isG0, isG1, isG2    [16]uint16      // by state
	slots                      [4][64]uint16   // by match length
	far                        [128]uint16     // low bits of distances with slots 4 to 13
	align                      [16]uint16      // lowest four bits of larger ones
	matchLength, repeatLengths lengths
	literals                   [0x300<<4 + 0x100]uint16 // 0x300 for each of 1 << (lc + lp) contexts, read as if 0x400

	in            input
	size          uint32 // bytes of it that count
	rng, code, ip uint32
	pending       int // bytes of a match that did not fit any more
}

type lengths struct {
	choice, choice2 uint16
	low, mid        [16][8]uint16 // by position
	high            [256]uint16
}

func resetProbs(p []uint16) {
	for i := range p {
		p[i] = probInit
	}
}

// reset forgets everything learnt, as a chunk with a state reset asks for.
func (d *lzma) reset() {
	d.state = 0
	d.reps = [4]uint32{}
	resetProbs(d.isMatch[:])
	resetProbs(d.isRep0Long[:])
	for _, p := range []*[16]uint16{&d.isRep, &d.isG0, &d.isG1, &d.isG2, &d.align} {
		resetProbs(p[:])
	}
	for i := range d.slots {
		resetProbs(d.slots[i][:])
	}
	resetProbs(d.far[:])
	resetProbs(d.literals[:0x300<<(d.lc+bitsOf(d.lpMask))])
	for _, l := range []*lengths{&d.matchLength, &d.repeatLengths} {
		l.choice, l.choice2 = probInit, probInit
		for i := range l.low {
			resetProbs(l.low[i][:])
			resetProbs(l.mid[i][:])
		}
		resetProbs(l.high[:])
	}
}

func bitsOf(mask uint32) (n uint32) {
	for ; mask != 0; mask >>= 1 {
		n++
	}
	return n
}

// setProperties takes the byte that packs lc, lp and pb.
func (d *lzma) setProperties(b byte) bool {
	lc, lp, pb := uint32(b%9), uint32(b/9%5), uint32(b/45)
	if pb > 4 || lc+lp > 4 {
		return false
	}
	d.lc, d.lpMask, d.pbMask = lc, 1<<lp-1, 1<<pb-1
	return true
}

// begin starts the range decoder on size bytes of d.in.
func (d *lzma) begin(size int) bool {
	d.size = uint32(size)
	d.rng = 0xffffffff
	d.code = uint32(d.in[1])<<24 | uint32(d.in[2])<<16 | uint32(d.in[3])<<8 | uint32(d.in[4])
	d.ip = 5
	d.pending = 0
	return size >= 5 && d.in[0] == 0
}

// finished reports whether the chunk's symbols have used up its bytes exactly.
func (d *lzma) finished() bool {
	if d.rng < rangeTop {
		d.code = d.code<<8 | uint32(d.in[uint16(d.ip)])
		d.ip++
	}
	return d.code == 0 && d.ip == d.size && d.pending == 0
}

// normal takes another byte when the range has become small, as must be done before each bit.
func normal(in *input, rng, code, ip uint32) (r, c, i uint32) {
	if rng < rangeTop {
		rng <<= 8
		code = code<<8 | uint32(in[uint16(ip)])
		ip++
	}
	return rng, code, ip
}

// bit decodes one bit.
func bit(p *uint16, in *input, rng, code, ip uint32) (b, r, c, i uint32) {
	rng, code, ip = normal(in, rng, code, ip)
	v := uint32(*p)
	bound := rng >> probBits * v
	if code < bound {
		*p = uint16(v + (1<<probBits-v)>>probShift)
		return 0, bound, code, ip
	}
	*p = uint16(v - v>>probShift)
	return 1, rng - bound, code - bound, ip
}

// even decodes one bit without a branch, which is quicker where bits are as good as random; rng must
// be large enough. A zero bit gives all ones, a one bit zero.
func even(p *uint16, rng, code uint32) (zero, r, c uint32) {
	v := uint32(*p)
	bound := rng >> probBits * v
	diff := uint64(code) - uint64(bound)
	zero = uint32(diff >> 32)
	rng -= bound
	// For a zero bit the same step as bit's, with the rounding of a division of a negative number.
	const up = 1<<32 + 1<<probShift - 1 - 1<<probBits
	*p = uint16(v - uint32(int32(v+zero&up)>>probShift))
	return zero, rng + (bound-rng)&zero, uint32(diff) + bound&zero
}

// tree3 decodes three bits, the highest first.
func tree3(p *[8]uint16, in *input, rng, code, ip uint32) (sym, r, c, i uint32) {
	var b uint32
	sym = 1
	for range 3 {
		b, rng, code, ip = bit(&p[sym&7], in, rng, code, ip)
		sym = sym<<1 | b
	}
	return sym & 7, rng, code, ip
}

// tree6 decodes six bits, the highest first.
func tree6(p *[64]uint16, in *input, rng, code, ip uint32) (sym, r, c, i uint32) {
	var zero uint32
	for sym = 1; sym < 64; {
		rng, code, ip = normal(in, rng, code, ip)
		zero, rng, code = even(&p[sym&63], rng, code)
		sym = sym<<1 + 1 + zero
	}
	return sym & 63, rng, code, ip
}

// tree8 decodes eight bits, the highest first.
func tree8(p *[256]uint16, in *input, rng, code, ip uint32) (sym, r, c, i uint32) {
	var b uint32
	for sym = 1; sym < 256; {
		b, rng, code, ip = bit(&p[sym&255], in, rng, code, ip)
		sym = sym<<1 | b
	}
	return sym & 255, rng, code, ip
}

// length decodes a match length.
func (l *lengths) length(ps uint32, in *input, rng, code, ip uint32) (n, r, c, i uint32) {
	var b uint32
	b, rng, code, ip = bit(&l.choice, in, rng, code, ip)
	if b == 0 {
		n, rng, code, ip = tree3(&l.low[ps&15], in, rng, code, ip)
		return n + 2, rng, code, ip
	}
	b, rng, code, ip = bit(&l.choice2, in, rng, code, ip)
	if b == 0 {
		n, rng, code, ip = tree3(&l.mid[ps&15], in, rng, code, ip)
		return n + 10, rng, code, ip
	}
	n, rng, code, ip = tree8(&l.high, in, rng, code, ip)
	return n + 18, rng, code, ip
}

// distance decodes a match's distance, less one.
func (d *lzma) distance(length uint32, in *input, rng, code, ip uint32) (dist, r, c, i uint32) {
	slot, rng, code, ip := tree6(&d.slots[min(length-2, 3)], in, rng, code, ip)
	if slot < 4 {
		return slot, rng, code, ip
	}
	n := slot>>1 - 1 // bits below the two highest, which the slot states
	dist = (2 | slot&1) << n
	if slot < 14 {
		// far holds a tree for each slot, at the slot's smallest distance less the slot.
		low, rng, code, ip := d.reverse(&d.far, dist-slot, n, rng, code, ip)
		return dist + low, rng, code, ip
	}
	var middle uint32
	for range n - 4 { // equally probable bits
		rng, code, ip = normal(in, rng, code, ip)
		rng >>= 1
		code -= rng
		borrow := uint32(int32(code) >> 31) // all ones for a zero bit
		code += rng & borrow
		middle = middle<<1 + 1 + borrow
	}
	var b, low uint32
	m := uint32(1)
	for k := range 4 {
		b, rng, code, ip = bit(&d.align[m&15], in, rng, code, ip)
		m = m<<1 | b
		low |= b << k
	}
	return dist + middle<<4 + low, rng, code, ip
}

// reverse decodes n bits with the tree at base, the lowest first.
func (d *lzma) reverse(p *[128]uint16, base, n, rng, code, ip uint32) (low, r, c, i uint32) {
	var b uint32
	m := uint32(1)
	for k := range n {
		b, rng, code, ip = bit(&p[(base+m)&127], &d.in, rng, code, ip)
		m = m<<1 | b
		low |= b << k
	}
	return low, rng, code, ip
}
