// Package snapshot gives a root filesystem an identity: it joins a tree of files with a manifest that
// is authoritative for all metadata, and turns the two into the canonical tar whose SHA-256 (the OCI
// diffID) is the root's name.
//
// The tar is a function of (file contents from the tree, everything else from the manifest). A disk
// that cannot express owners or device nodes, as in a rootless build, so yields the same bytes.
//
// Canonical tar, version 1: PAX; depth-first walk, the names of a directory in bytewise order; "./"
// before every path, "/" after directories; numeric ids and empty names; times in whole seconds, none
// after the epoch; the first sorted name of a hardlink set is the file, the others link to it;
// SCHILY.xattr records for an allow-list; devices with numbers; no sockets; holes written out.
package snapshot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// A Digest is a SHA-256 as 64 lower-case hex digits.
type Digest string

// Sum returns the digest of b.
func Sum(b []byte) Digest {
	h := sha256.Sum256(b)
	return Digest(hex.EncodeToString(h[:]))
}

// ParseDigest checks s, with or without a "sha256:" before it.
func ParseDigest(s string) (Digest, error) {
	if len(s) == 71 && s[:7] == "sha256:" {
		s = s[7:]
	}
	d := Digest(s)
	if !d.Valid() {
		return "", fmt.Errorf("%q is not a SHA-256 of 64 lower-case hex digits", clip(s))
	}
	return d, nil
}

// Valid reports whether d has a digest's form. Only valid digests ever become part of a path.
func (d Digest) Valid() bool {
	if len(d) != 64 {
		return false
	}
	for i := range len(d) {
		if c := d[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Short returns the first 12 digits, for people.
func (d Digest) Short() string { return string(d[:min(len(d), 12)]) }

// The types of an Entry.
const (
	TypeFile     = 'f'
	TypeDir      = 'd'
	TypeSymlink  = 'l'
	TypeHardlink = 'h'
	TypeChar     = 'c'
	TypeBlock    = 'b'
	TypeFifo     = 'p'
)

// An Entry is one name in a root.
type Entry struct {
	Path         string // "." for the root itself, else "etc/passwd": no "./" before it, no "/" after it
	Type         byte   // TypeFile and so on
	Mode         uint32 // permission, setuid, setgid and sticky bits: at most 07777
	UID, GID     uint32
	Size         int64 // files only
	MTime        int64 // seconds, not negative
	Major, Minor uint32
	Link         string            // symlink: its text; hardlink: Path of the file, which stands earlier
	Xattrs       map[string]string // allow-listed ones; never on a hardlink
	SHA256       Digest            // files only
}

// special reports whether e is of a kind that a tree may lack and a manifest have: the node is all there
// is to it.
func (e *Entry) special() bool {
	return e.Type == TypeChar || e.Type == TypeBlock || e.Type == TypeFifo
}

// A Manifest lists a root's entries in canonical order, the root directory first.
type Manifest struct {
	Entries []Entry
	Digest  Digest // of the canonical tar; "" if not known
	TarSize int64  // of the canonical tar, in bytes
}

// compare orders paths as the canonical walk does: directory by directory, names bytewise, a directory
// before what is in it. That is bytewise order with "/" below every other byte.
func compare(a, b string) int {
	if a == b {
		return 0
	}
	if a == "." {
		return -1
	}
	if b == "." {
		return 1
	}
	for i := range min(len(a), len(b)) {
		x, y := a[i], b[i]
		switch {
		case x == y:
		case x == '/':
			return -1
		case y == '/', x > y:
			return 1
		default:
			return -1
		}
	}
	return len(a) - len(b)
}

// clip shortens untrusted text for an error message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}
