package pgp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
)

const armorBegin, armorEnd, armorDashes = "-----BEGIN ", "-----END ", "-----"

func isArmored(b []byte) bool { return bytes.Contains(b, []byte(armorBegin)) }

// dearmor joins the contents of all blocks of the given kind. Text outside blocks is passed over,
// for it decides nothing; a block that is cut off or fails its checksum is an error.
func dearmor(text []byte, kind string) ([]byte, error) {
	var out []byte
	found := false
	for len(text) > 0 {
		var line []byte
		line, text = cutLine(text)
		if string(line) != armorBegin+kind+armorDashes {
			continue
		}
		found = true
		block, rest, err := dearmorBlock(text, kind)
		if err != nil {
			return nil, err
		}
		out = append(out, block...)
		text = rest
	}
	if !found {
		return nil, fmt.Errorf("no block of type %s", kind)
	}
	return out, nil
}

// dearmorBlock decodes what follows a block's first line, up to its last.
func dearmorBlock(text []byte, kind string) (block, rest []byte, err error) {
	line := []byte("-")
	for len(line) > 0 { // headers, such as Version and Comment, up to an empty line
		if len(text) == 0 {
			return nil, nil, errors.New("armor is cut off in its headers")
		}
		line, text = cutLine(text)
		if len(line) > 0 && !bytes.Contains(line, []byte(":")) {
			return nil, nil, errors.New("armor has an illegal header")
		}
	}
	var encoded, sum []byte
	for {
		if len(text) == 0 {
			return nil, nil, errors.New("armor is cut off")
		}
		line, text = cutLine(text)
		switch {
		case string(line) == armorEnd+kind+armorDashes:
			block, err := base64.StdEncoding.Strict().DecodeString(string(encoded))
			if err != nil {
				return nil, nil, fmt.Errorf("armor: %w", err)
			}
			if sum != nil && !checksumIs(block, sum) {
				return nil, nil, errors.New("armor has a wrong checksum")
			}
			return block, text, nil
		case sum != nil:
			return nil, nil, errors.New("armor goes on after its checksum")
		case len(line) == 5 && line[0] == '=':
			sum = line[1:]
		default:
			encoded = append(encoded, line...)
		}
	}
}

// cutLine returns the first line without its end or blanks before that.
func cutLine(text []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(text, []byte("\n"))
	return bytes.TrimRight(line, " \t\r"), rest
}

// checksumIs compares the CRC-24 of RFC 9580, section 6.1 with its base64 form.
func checksumIs(data, encoded []byte) bool {
	crc := uint32(0xb704ce)
	for _, b := range data {
		crc ^= uint32(b) << 16
		for range 8 {
			if crc <<= 1; crc&0x1000000 != 0 {
				crc ^= 0x1864cfb
			}
		}
	}
	want, err := base64.StdEncoding.DecodeString(string(encoded))
	return err == nil && bytes.Equal(want, []byte{byte(crc >> 16), byte(crc >> 8), byte(crc)})
}
