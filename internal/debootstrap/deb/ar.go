package deb

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	maxArMembers = 64
)

// arMember is one file of an ar archive.
type arMember struct {
	name         string
	offset, size int64
}

// readAr lists the members of an ar archive of size bytes, in order. Sizes are checked against it
// and headers against ar(5); a pad byte may be missing only at the very end.
func readAr(r io.ReaderAt, size int64) ([]arMember, error) {
	var head [arHeaderSize]byte
	if size < int64(len(arMagic)) {
		return nil, formatError("not an ar archive: %d bytes", size)
	}
	if err := readAt(r, head[:len(arMagic)], 0); err != nil {
		return nil, fmt.Errorf("read ar magic: %w", err)
	}
	if string(head[:len(arMagic)]) != arMagic {
		return nil, formatError("not an ar archive: wrong magic")
	}
	var members []arMember
	for pos := int64(len(arMagic)); pos < size; {
		if size-pos < arHeaderSize {
			return nil, formatError("ar header at byte %d is cut off", pos)
		}
		if len(members) == maxArMembers {
			return nil, formatError("more than %d ar members", maxArMembers)
		}
		if err := readAt(r, head[:], pos); err != nil {
			return nil, fmt.Errorf("read ar header: %w", err)
		}
		m, err := parseArHeader(&head)
		if err != nil {
			return nil, fmt.Errorf("ar header at byte %d: %w", pos, err)
		}
		m.offset = pos + arHeaderSize
		if m.size > size-m.offset {
			return nil, formatError("ar member %q is cut off: has %d of %d bytes", m.name, size-m.offset, m.size)
		}
		members = append(members, m)
		pos = m.offset + m.size + m.size&1
	}
	return members, nil
}

// parseArHeader reads name and size; the owner, mode and date fields carry nothing a .deb uses.
func parseArHeader(head *[arHeaderSize]byte) (arMember, error) {
	if head[58] != '`' || head[59] != '\n' {
		return arMember{}, formatError("wrong end mark")
	}
	// Some writers end names in "/", as System V's ar does.
	name := strings.TrimSuffix(strings.TrimRight(string(head[:16]), " "), "/")
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' }) {
		return arMember{}, formatError("illegal member name %q", name)
	}
	digits := string(bytes.TrimRight(head[48:58], " "))
	if strings.Trim(digits, "0123456789") != "" {
		return arMember{}, formatError("illegal size %q of member %s", digits, name)
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return arMember{}, formatError("illegal size %q of member %s", digits, name)
	}
	return arMember{name: name, size: size}, nil
}

// readAt fills p; ending early is an error even where ReadAt says io.EOF.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}
