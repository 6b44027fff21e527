package xz

import (
	"encoding/binary"
	"hash/crc32"
)

// assemble makes a file of one block without a check from its header, less size and checksum, and
// its data. The sizes in the index are what decoding finds; if that ends early they are wrong,
// but then so is the data.
func assemble(header, data []byte) []byte {
	out := []byte(headerMagic + "\x00\x00")
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(out[6:8]))
	header[0] = byte(len(header)+4)/4 - 1
	out = append(out, header...)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(header))
	packed, plain := measure(data)
	out = append(out, data[:packed]...)
	for i := packed; i%4 != 0; i++ {
		out = append(out, 0)
	}
	index := []byte{0, 1}
	index = binary.AppendUvarint(index, uint64(len(header)+4+packed))
	index = binary.AppendUvarint(index, uint64(plain))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))
	out = append(out, index...)
	foot := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	foot = append(foot, 0, 0)
	out = binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(foot))
	return append(append(out, foot...), footerMagic...)
}

// measure walks over chunk headers and returns the sizes they add up to.
func measure(data []byte) (packed, plain int) {
	for packed < len(data) {
		c := data[packed]
		head := 3
		switch {
		case c == 0:
			return packed + 1, plain
		case c >= 0xc0:
			head = 6
		case c >= 0x80:
			head = 5
		case c > 2:
			return len(data), plain
		}
		if len(data)-packed < head {
			return len(data), plain
		}
		h := data[packed:]
		size := int(h[1])<<8 + int(h[2]) + 1
		if c >= 0x80 {
			plain += int(c&0x1f) << 16
			plain += size
			size = int(h[3])<<8 + int(h[4]) + 1
		} else {
			plain += size
		}
		packed = min(packed+head+size, len(data))
	}
	return packed, plain
}

// mend makes the header checksums of the first stream and block right.
func mend(file []byte) []byte {
	out := append([]byte(nil), file...)
	if len(out) < 13 {
		return out
	}
	binary.LittleEndian.PutUint32(out[8:], crc32.ChecksumIEEE(out[6:8]))
	if end := 12 + (int(out[12])+1)*4 - 4; out[12] != 0 && end+4 <= len(out) {
		binary.LittleEndian.PutUint32(out[end:], crc32.ChecksumIEEE(out[12:end]))
	}
	return out
}
