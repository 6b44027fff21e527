// Package deb reads Debian binary packages (deb(5)): the ar container, the control member and the
// data stream. Whatever stands in a package, memory and output stay within stated bounds.
package deb

import (
	"fmt"
	"io"
	"strings"
)

// DefaultLimit bounds the decompressed size of a data member when the caller sets no limit.
const DefaultLimit = 16 << 30

// ErrFormat is what errors about malformed packages match.
var ErrFormat = fmt.Errorf("malformed package")

type formatErr struct{ text string }

func (e *formatErr) Error() string   { return e.text }
func (e *formatErr) Is(t error) bool { return t == ErrFormat }

func formatError(format string, args ...any) error {
	return &formatErr{fmt.Sprintf(format, args...)}
}

// A Reader reads one package. Its methods may be called more than once and from several
// goroutines, as far as the io.ReaderAt allows.
type Reader struct {
	// Limit bounds the bytes Data yields; zero means DefaultLimit. Past it reads fail with a
	// *LimitError. Set it before calling Data.
	Limit int64

	pool          *Pool
	r             io.ReaderAt
	control, data arMember
}

// Open reads the ar headers of a package of size bytes. It keeps no state between packages; see
// Pool.Open for reading many.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	return new(Pool).Open(r, size)
}

// Open is the function Open with decoders taken from the pool.
func (p *Pool) Open(r io.ReaderAt, size int64) (*Reader, error) {
	members, err := readAr(r, size)
	if err != nil {
		return nil, fmt.Errorf("read package: %w", err)
	}
	d := &Reader{pool: p, r: r}
	if err := d.pick(members); err != nil {
		return nil, fmt.Errorf("read package: %w", err)
	}
	return d, nil
}

// pick finds the three members of deb(5), in order. Members whose names begin with "_" may stand
// anywhere after the first; others only after data, where dpkg does not look either.
func (d *Reader) pick(members []arMember) error {
	if len(members) == 0 || members[0].name != "debian-binary" {
		return formatError("first member is not debian-binary")
	}
	if err := d.checkVersion(members[0]); err != nil {
		return err
	}
	for _, m := range members[1:] {
		isControl, isData := isTar(m.name, "control.tar"), isTar(m.name, "data.tar")
		switch {
		case isControl && d.control.name == "" && d.data.name == "":
			d.control = m
		case isData && d.control.name != "" && d.data.name == "":
			d.data = m
		case isControl || isData:
			return formatError("member %s stands twice or out of order", m.name)
		case m.name[0] != '_' && d.data.name == "":
			return formatError("unknown member %q", m.name)
		}
	}
	switch {
	case d.control.name == "":
		return formatError("no control member")
	case d.data.name == "":
		return formatError("no data member")
	}
	return nil
}

// isTar reports whether name is base, with or without a compression's suffix.
func isTar(name, base string) bool {
	return name == base || strings.HasPrefix(name, base+".") && len(name) > len(base)+1
}

// checkVersion wants format 2.x, which promises to stay readable.
func (d *Reader) checkVersion(m arMember) error {
	var text [64]byte
	if m.size < 4 || m.size > int64(len(text)) {
		return formatError("debian-binary has %d bytes", m.size)
	}
	b := text[:m.size]
	if err := readAt(d.r, b, m.offset); err != nil {
		return fmt.Errorf("read debian-binary: %w", err)
	}
	version, _, ended := strings.Cut(string(b), "\n")
	minor, two := strings.CutPrefix(version, "2.")
	if !ended || !two || minor == "" || strings.Trim(minor, "0123456789") != "" {
		return formatError("package format %q is not 2.x", version)
	}
	return nil
}

// Data returns the decompressed data.tar. Checksums of the compressed form are complete only once
// the stream was read to io.EOF. Close returns the decoder to its pool.
func (d *Reader) Data() (io.ReadCloser, error) {
	limit := d.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	r, err := d.stream(d.data, limit)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.data.name, err)
	}
	return r, nil
}

// Compression names how the data member is compressed: "", "gz", "xz", "zst", "bz2" or "lzma".
func (d *Reader) Compression() string { return suffix(d.data.name) }

func suffix(name string) string {
	_, ext, _ := strings.Cut(name, ".tar")
	return strings.TrimPrefix(ext, ".")
}

func (d *Reader) stream(m arMember, limit int64) (io.ReadCloser, error) {
	return d.pool.Decompress(io.NewSectionReader(d.r, m.offset, m.size), suffix(m.name), limit)
}
