package cache

import (
	"context"
	"io"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// The words of package snapshot that the users of a Store need are here, too: its roots are spoken of
// in them.
type (
	Digest      = snapshot.Digest
	Entry       = snapshot.Entry
	Manifest    = snapshot.Manifest
	ScanOptions = snapshot.ScanOptions
	Owners      = snapshot.Owners
)

// The types of an Entry.
const (
	TypeFile     = snapshot.TypeFile
	TypeDir      = snapshot.TypeDir
	TypeSymlink  = snapshot.TypeSymlink
	TypeHardlink = snapshot.TypeHardlink
	TypeChar     = snapshot.TypeChar
	TypeBlock    = snapshot.TypeBlock
	TypeFifo     = snapshot.TypeFifo
)

// Sum returns the digest of b.
func Sum(b []byte) Digest { return snapshot.Sum(b) }

// ParseDigest checks s, with or without a "sha256:" before it.
func ParseDigest(s string) (Digest, error) { return snapshot.ParseDigest(s) }

// Scan is snapshot.Scan.
func Scan(ctx context.Context, tree string, o ScanOptions) (*Manifest, Digest, int64, error) {
	return snapshot.Scan(ctx, tree, o)
}

// ReadManifest is snapshot.ReadManifest.
func ReadManifest(r io.Reader) (*Manifest, error) { return snapshot.ReadManifest(r) }
