package xz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
)

// A block is what is known of the current block.
type block struct {
	start        int64 // where it begins in the input
	data         int64 // where its compressed data begins
	packed       int64 // bytes of that by its header, or -1
	plain        int64 // decompressed bytes by its header, or -1
	decompressed int64
}

// blockOrIndex reads a block's header, or, where that has a zero, the index and the stream's end.
func (z *Reader) blockOrIndex() error {
	start := z.in.n
	size, err := z.in.ReadByte()
	if err != nil {
		return err
	}
	if size == 0 {
		return z.index(start)
	}
	h := make([]byte, (int(size)+1)*4)
	h[0] = size
	if err := z.in.full(h[1:]); err != nil {
		return err
	}
	end := len(h) - 4
	if crc32.ChecksumIEEE(h[:end]) != le32(h[end:]) {
		return errCorrupt
	}
	dict, err := z.block.parse(h[1:end])
	if err != nil {
		return err
	}
	if dict > z.maxDictionary {
		return &DictionaryError{Size: dict, Limit: z.maxDictionary}
	}
	z.block.start, z.block.data, z.block.decompressed = start, z.in.n, 0
	z.lzma2.start(int(dict))
	if z.check != nil {
		z.check.Reset()
	}
	z.next = (*Reader).blockData
	return nil
}

// parse reads a block header between its size and checksum, and returns the dictionary's size.
func (b *block) parse(h []byte) (dict int64, err error) {
	flags := h[0]
	h = h[1:]
	if flags&0x3c != 0 {
		return 0, &UnsupportedError{"a block with unknown flags"}
	}
	b.packed, b.plain = -1, -1
	for _, f := range []struct {
		bit   byte
		field *int64
	}{{0x40, &b.packed}, {0x80, &b.plain}} {
		if flags&f.bit != 0 {
			if *f.field, h, err = varint(h); err != nil {
				return 0, err
			}
		}
	}
	filter, h, err := varint(h)
	if err != nil {
		return 0, err
	}
	if filter != 0x21 || flags&3 != 0 {
		return 0, &UnsupportedError{fmt.Sprintf("a chain of %d filters that begins with %#x", flags&3+1, filter)}
	}
	if len(h) < 2 || h[0] != 1 || b.packed == 0 || len(bytes.Trim(h[2:], "\x00")) != 0 {
		return 0, errCorrupt
	}
	return dictionarySize(h[1])
}

// dictionarySize decodes LZMA2's only property: 2^n or 3*2^(n-1) bytes, up to 4 GiB.
func dictionarySize(b byte) (int64, error) {
	switch {
	case b > 40:
		return 0, errCorrupt
	case b == 40:
		return 1<<32 - 1, nil
	}
	return (2 | int64(b&1)) << (b/2 + 11), nil
}

// blockData decodes on, up to the block's end.
func (z *Reader) blockData() error {
	if !z.ended {
		if err := z.advance(&z.in); err != nil {
			return err
		}
		// Room may have moved to the window's beginning; what is new lies from there.
		fresh := z.buf[z.read:z.pos]
		z.block.decompressed += int64(len(fresh))
		if z.check != nil {
			z.check.Write(fresh)
		}
		return nil
	}
	b := &z.block
	packed := z.in.n - b.data
	if b.packed >= 0 && b.packed != packed || b.plain >= 0 && b.plain != b.decompressed {
		return errCorrupt
	}
	if err := z.zeros(-packed & 3); err != nil {
		return err
	}
	unpadded := b.data - b.start + packed
	if z.check != nil {
		unpadded += int64(z.check.Size())
		if err := z.verifyCheck(); err != nil {
			return err
		}
	}
	z.blocks.add(unpadded, b.decompressed)
	z.next = (*Reader).blockOrIndex
	return nil
}

// verifyCheck compares the block's check; CRCs are stored lowest byte first.
func (z *Reader) verifyCheck() error {
	want := make([]byte, z.check.Size())
	if err := z.in.full(want); err != nil {
		return err
	}
	if len(want) < sha256.Size {
		for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
			want[i], want[j] = want[j], want[i]
		}
	}
	if !bytes.Equal(want, z.check.Sum(nil)) {
		return errCorrupt
	}
	return nil
}

// index reads what follows the index's zero byte, at start, and the stream's footer.
func (z *Reader) index(start int64) error {
	sum := crc32.NewIEEE()
	sum.Write([]byte{0})
	in := &summedBytes{in: &z.in, sum: sum}
	count, err := readVarint(in)
	if err != nil {
		return err
	}
	if count != z.blocks.n {
		return errCorrupt
	}
	listed := newRecords()
	for range count {
		unpadded, err := readVarint(in)
		if err != nil {
			return err
		}
		plain, err := readVarint(in)
		if err != nil {
			return err
		}
		listed.add(unpadded, plain)
	}
	if !bytes.Equal(listed.sum.Sum(nil), z.blocks.sum.Sum(nil)) {
		return errCorrupt
	}
	for (z.in.n-start)&3 != 0 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return orCorrupt(err)
		}
	}
	var crc [4]byte
	if err := z.in.full(crc[:]); err != nil {
		return err
	}
	if le32(crc[:]) != sum.Sum32() {
		return errCorrupt
	}
	return z.footer(z.in.n - start)
}

// zeros reads n bytes that must be zero.
func (z *Reader) zeros(n int64) error {
	for range n {
		if b, err := z.in.ReadByte(); err != nil || b != 0 {
			return orCorrupt(err)
		}
	}
	return nil
}

func orCorrupt(err error) error {
	if err == nil {
		return errCorrupt
	}
	return err
}

// records stands for a list of blocks' sizes. A digest compares as well as the list and takes no memory.
type records struct {
	n   int64
	sum hash.Hash
}

func newRecords() records { return records{sum: sha256.New()} }

func (r *records) add(unpadded, plain int64) {
	r.n++
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:8], uint64(unpadded))
	binary.LittleEndian.PutUint64(b[8:], uint64(plain))
	r.sum.Write(b[:])
}

// summedBytes adds the bytes it reads to a checksum.
type summedBytes struct {
	in  *source
	sum hash.Hash32
}

func (s *summedBytes) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.sum.Write([]byte{b})
	}
	return b, err
}
