package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
)

// A Digester makes the digest of a canonical tar from entries that come in canonical order, without a tree to read.
type Digester struct {
	h hash.Hash
	t tarWriter
}

// NewDigester begins with an empty tar.
func NewDigester() *Digester {
	h := sha256.New()
	return &Digester{h, tarWriter{w: h}}
}

// Head adds an entry, whose SHA256 need not be known yet. A file's content follows through Content, exactly Size
// bytes, and then Pad.
func (d *Digester) Head(e *Entry) error { return d.t.write(d.t.headers.header(e)) }

// Content adds a part of a file's content.
func (d *Digester) Content(b []byte) error { return d.t.write(b) }

// Pad ends a file of size bytes.
func (d *Digester) Pad(size int64) error { return d.t.write(zeros[:pad(size)]) }

// End returns the digest and the size of the tar.
func (d *Digester) End() (Digest, int64, error) {
	if err := d.t.end(); err != nil {
		return "", 0, fmt.Errorf("end tar: %w", err)
	}
	return Digest(hex.EncodeToString(d.h.Sum(nil))), d.t.n, nil
}

// Compare orders paths as a manifest does.
func Compare(a, b string) int { return compare(a, b) }

// KeepXattr reports whether a root keeps an extended attribute of that name.
func KeepXattr(name string) bool { return keepXattr(name) }

// CanonicalXattr is an attribute's value as a manifest has it, whoever's namespace it was written in.
func CanonicalXattr(name, value string) string { return canonicalXattr(name, value) }

// ReadXattrs reads the attributes of an open file or directory that a root keeps.
func ReadXattrs(fd int) (map[string]string, error) { return readXattrs(fd, make([]byte, maxXattr)) }

// CheckEntry says what keeps e from standing in a manifest, its place apart. A file's digest may still be missing.
func CheckEntry(e *Entry) error {
	c := *e
	if c.Type == TypeFile && c.SHA256 == "" {
		c.SHA256 = Sum(nil)
	}
	return c.check()
}
