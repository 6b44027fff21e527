package xz

import (
	"bytes"
	"io"
)

// readVarint reads a number of up to 63 bits in its shortest form, seven bits a byte, the lowest
// first.
func readVarint(r io.ByteReader) (int64, error) {
	var n int64
	for shift := 0; shift < 63; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b == 0 && shift > 0 {
				return 0, errCorrupt
			}
			return n, nil
		}
	}
	return 0, errCorrupt
}

// varint is readVarint from a slice, of which it returns the rest.
func varint(b []byte) (n int64, rest []byte, err error) {
	r := bytes.NewReader(b)
	n, err = readVarint(r)
	if err != nil {
		return 0, nil, errCorrupt
	}
	return n, b[len(b)-r.Len():], nil
}
