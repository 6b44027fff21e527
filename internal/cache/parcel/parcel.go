// Package parcel is the form in which roots travel in one flat file, from the cache of one machine to that of another.
//
// A parcel is a plain tar, readable once from front to back:
//
//	rootctl-cache-1/index-SHA256.json.zst    what is in it: records, names, sizes and digests; its own digest in its name
//	rootctl-cache-1/roots/DIGEST.tar.zst     the canonical tar of each root, in the index's order
//	rootctl-cache-1/dl/SHA256                downloads, in the index's order
//
// All headers follow from the index, so that a reader compares them, and the padding, byte for byte: no bit of a parcel
// can change unnoticed. The bytes depend on the contents alone.
package parcel

import (
	"encoding/json"
	"fmt"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Schema is the number of the form. An older or newer one is not read.
const Schema = 1

// The bounds of an index.
const (
	maxPacked  = 64 << 20
	maxIndex   = 512 << 20
	maxMembers = 1 << 20
	maxSize    = 1<<33 - 1 // what the eleven octal digits of a header hold
)

// An Index says what a parcel has.
type Index struct {
	CacheSchema int        `json:"cache_schema"` // of the cache that the records are from
	Roots       []Root     `json:"roots"`
	Downloads   []Download `json:"downloads,omitempty"`
	Records     []Record   `json:"records"`
	Names       []Name     `json:"names"`
}

// A Root is a sealed root, as its canonical tar in zstd.
type Root struct {
	Digest  snapshot.Digest `json:"digest"`   // of the tar
	TarSize int64           `json:"tar_size"` // in bytes
	SHA256  snapshot.Digest `json:"sha256"`   // of the member
	Size    int64           `json:"size"`     // of the member
}

// A Download is a file from an archive, as it is.
type Download struct {
	SHA256 snapshot.Digest `json:"sha256"`
	Size   int64           `json:"size"`
}

// A Record is a small file of a cache: of actions, inputs or releases.
type Record struct {
	Folder string `json:"folder"`
	Name   string `json:"name"`
	Text   string `json:"text"`
}

// A Name is a name of a root.
type Name struct {
	Name string          `json:"name"`
	Root snapshot.Digest `json:"root"`
	Key  snapshot.Digest `json:"key,omitempty"`
	Info json.RawMessage `json:"info,omitempty"`
}

// A FormatError is what is no parcel that this rootctl reads, or the rest of one.
type FormatError struct{ What, Next string }

func (e *FormatError) Error() string { return e.What }
func (e *FormatError) Hint() string  { return e.Next }

// A DamagedError is a parcel that is not what its digests say: damaged on its way, or meddled with.
type DamagedError struct{ What string }

func (e *DamagedError) Error() string { return "it is not what its digests say: " + e.What }
func (e *DamagedError) Hint() string {
	return "nothing of it was taken: get it again, or save it anew with rootctl cache save"
}

func damaged(format string, args ...any) error { return &DamagedError{fmt.Sprintf(format, args...)} }

func cut() error {
	return &FormatError{"it is cut off", "nothing of it was taken: get it again, and compare its size"}
}

// check refuses what no writer here makes.
func (x *Index) check() error {
	if n := len(x.Roots) + len(x.Downloads) + len(x.Records) + len(x.Names); n > maxMembers {
		return damaged("%d entries", n)
	}
	roots := map[snapshot.Digest]bool{}
	for _, r := range x.Roots {
		if !r.Digest.Valid() || !r.SHA256.Valid() || !fits(r.Size) || r.TarSize <= 0 || r.TarSize > 1<<53 || roots[r.Digest] {
			return damaged("bad entry of root %.80q", r.Digest)
		}
		roots[r.Digest] = true
	}
	downloads := map[snapshot.Digest]bool{}
	for _, d := range x.Downloads {
		if !d.SHA256.Valid() || !fits(d.Size) || downloads[d.SHA256] {
			return damaged("bad entry of download %.80q", d.SHA256)
		}
		downloads[d.SHA256] = true
	}
	for _, r := range x.Records {
		if r.Folder != "actions" && r.Folder != "inputs" && r.Folder != "releases" {
			return damaged("bad record %.80q", r.Folder)
		}
	}
	for _, n := range x.Names {
		if !roots[n.Root] {
			return damaged("name %.80q of a root that is not in it", n.Name)
		}
	}
	return nil
}

func fits(size int64) bool { return size >= 0 && size <= maxSize }
