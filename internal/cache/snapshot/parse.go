package snapshot

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const maxText = 512 << 20

// A DamagedError tells that a manifest is not what was once written.
type DamagedError struct{ Reason string }

func (e *DamagedError) Error() string { return "damaged manifest: " + e.Reason }

func damaged(format string, args ...any) error {
	return &DamagedError{Reason: fmt.Sprintf(format, args...)}
}

// ReadManifest reads what Encode wrote and nothing else; all that is not exactly that is a
// *DamagedError.
func ReadManifest(r io.Reader) (*Manifest, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(text) > maxText {
		return nil, damaged("over %d bytes", maxText)
	}
	const tail = len("sha256 ") + 64 + 1
	if len(text) < tail {
		return nil, damaged("%d bytes", len(text))
	}
	body := text[:len(text)-tail]
	if string(text[len(body):]) != "sha256 "+string(Sum(body))+"\n" {
		return nil, damaged("its own checksum is wrong")
	}
	return parse(string(body))
}

// ReadHead reads a manifest's first line alone, unverified: for listings, where a whole manifest of
// megabytes would be too dear. Entries stays empty; the count is returned.
func ReadHead(r io.Reader) (*Manifest, int, error) {
	buf := make([]byte, 256)
	n, err := io.ReadFull(r, buf)
	if err != nil && err != io.ErrUnexpectedEOF {
		return nil, 0, fmt.Errorf("read manifest: %w", err)
	}
	line, _, ok := bytes.Cut(buf[:n], []byte("\n"))
	if !ok {
		return nil, 0, damaged("no first line")
	}
	return parseHead(string(line))
}

func parseHead(line string) (*Manifest, int, error) {
	rest, ok := strings.CutPrefix(line, magic+" ")
	f := strings.Split(rest, " ")
	if !ok || len(f) != 3 {
		return nil, 0, damaged("begins %q", clip(line))
	}
	m := &Manifest{}
	if f[0] != "-" {
		if m.Digest = Digest(f[0]); !m.Digest.Valid() {
			return nil, 0, damaged("digest %q", clip(f[0]))
		}
	}
	size, err := number(f[1], maxSize)
	if err != nil {
		return nil, 0, err
	}
	count, err := number(f[2], maxEntries)
	if err != nil {
		return nil, 0, err
	}
	m.TarSize = size
	return m, int(count), nil
}

func parse(body string) (*Manifest, error) {
	head, body, _ := strings.Cut(body, "\n")
	m, count, err := parseHead(head)
	if err != nil {
		return nil, err
	}
	if n := strings.Count(body, "\n"); n != count {
		return nil, damaged("%d lines for %d entries", n, count)
	}
	m.Entries = make([]Entry, 0, count)
	for body != "" {
		line, rest, ok := strings.Cut(body, "\n")
		if !ok {
			return nil, damaged("last line has no end")
		}
		e, err := parseLine(line)
		if err != nil {
			return nil, err
		}
		m.Entries = append(m.Entries, e)
		body = rest
	}
	if err := m.Check(); err != nil {
		return nil, damaged("%v", err)
	}
	return m, nil
}

func parseLine(line string) (Entry, error) {
	bad := func() (Entry, error) { return Entry{}, damaged("line %q", clip(line)) }
	f := strings.Split(line, " ")
	if len(f) < 6 || len(f[0]) != 1 || len(f[1]) != 4 {
		return bad()
	}
	mode, err := strconv.ParseUint(f[1], 8, 12)
	if err != nil {
		return bad()
	}
	var n [3]int64
	for i, limit := range []int64{1<<32 - 1, 1<<32 - 1, maxTime} {
		if n[i], err = number(f[2+i], limit); err != nil {
			return bad()
		}
	}
	e := Entry{Type: f[0][0], Mode: uint32(mode), UID: uint32(n[0]), GID: uint32(n[1]), MTime: n[2]}
	if e.Path, err = unescape(f[5]); err != nil {
		return bad()
	}
	rest, err := e.parseKind(f[6:])
	if err != nil {
		return bad()
	}
	if err := e.parseXattrs(rest); err != nil {
		return bad()
	}
	return e, nil
}

// parseKind reads the fields that e's type has of its own and returns those after them.
func (e *Entry) parseKind(f []string) ([]string, error) {
	var err error
	switch e.Type {
	case TypeFile:
		if len(f) < 2 {
			return nil, damaged("file without size")
		}
		e.Size, err = number(f[0], maxSize)
		e.SHA256 = Digest(f[1])
		return f[2:], err
	case TypeSymlink, TypeHardlink:
		if len(f) < 1 {
			return nil, damaged("link without target")
		}
		e.Link, err = unescape(f[0])
		return f[1:], err
	case TypeChar, TypeBlock:
		if len(f) < 1 {
			return nil, damaged("device without numbers")
		}
		major, minor, _ := strings.Cut(f[0], ":")
		x, err := number(major, maxDevice)
		if err != nil {
			return nil, err
		}
		y, err := number(minor, maxDevice)
		e.Major, e.Minor = uint32(x), uint32(y)
		return f[1:], err
	}
	return f, nil
}

func (e *Entry) parseXattrs(fields []string) error {
	last := ""
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		name, err := unescape(key)
		if !ok || err != nil || name <= last || len(value) > maxXattr*2 {
			return damaged("attribute %q", clip(f))
		}
		raw, err := base64.StdEncoding.Strict().DecodeString(value)
		if err != nil || base64.StdEncoding.EncodeToString(raw) != value {
			return damaged("attribute %q", clip(f))
		}
		if e.Xattrs == nil {
			e.Xattrs = map[string]string{}
		}
		e.Xattrs[name], last = string(raw), name
	}
	return nil
}

// number reads a decimal without sign or leading zeros, at most limit.
func number(s string, limit int64) (int64, error) {
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 || v > limit || strconv.FormatInt(v, 10) != s {
		return 0, damaged("number %q", clip(s))
	}
	return v, nil
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		for i := range len(s) {
			if !plain(s[i]) {
				return "", damaged("name %q", clip(s))
			}
		}
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' {
			if i+3 >= len(s) {
				return "", damaged("name %q", clip(s))
			}
			v, err := strconv.ParseUint(s[i+1:i+4], 8, 8)
			if err != nil || plain(byte(v)) {
				return "", damaged("name %q", clip(s))
			}
			c = byte(v)
			i += 3
		} else if !plain(c) {
			return "", damaged("name %q", clip(s))
		}
		out = append(out, c)
	}
	return string(out), nil
}
