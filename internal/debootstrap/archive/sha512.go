package archive

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
)

// Ubuntu's archives from 26.10 on state SHA-512 sums alone, and the cache goes by SHA-256. Such a file is
// read once to learn its SHA-256; that is recorded, and from then on it is a file like any other.

// maxUnknown bounds a file of which no SHA-256 is known: it is held in memory until its sum is right.
const maxUnknown = 1 << 30

// sumRecord stands in actions/ for a SHA-512 sum that a file was found to have.
type sumRecord struct {
	Kind   string       `json:"kind"` // "sha512"
	SHA256 cache.Digest `json:"sha256"`
}

// Identity is what a file is told by in keys: its SHA-256, else a digest of its SHA-512.
func (f File) Identity() cache.Digest {
	if f.SHA256 != "" {
		return f.SHA256
	}
	return cache.Sum([]byte("sha512 " + f.SHA512))
}

// Learn returns a pool file of the named pocket with its SHA-256, downloading what is only known by its
// SHA-512. It may be called from many goroutines.
func (a *Archive) Learn(ctx context.Context, pocket string, f File) (File, error) {
	p := a.Pocket(pocket)
	if p == nil {
		b, err := a.having(pocket, f.Path)
		if err != nil {
			return f, err
		}
		return b.Learn(ctx, pocket, f)
	}
	if err := checkPath(f.Path); err != nil {
		return f, err
	}
	return a.learn(ctx, p, []string{f.Path}, f)
}

func (a *Archive) learn(ctx context.Context, p *Pocket, paths []string, f File) (File, error) {
	if f.SHA256 != "" {
		return f, nil
	}
	if !isSHA512(f.SHA512) || f.Size <= 0 || f.Size > maxUnknown {
		return f, fmt.Errorf("fetch %s: the archive gives no sum or no size that can be used", f.Path)
	}
	key := f.Identity()
	var r sumRecord
	if ok, err := a.o.Store.LoadAction(key, &r); err == nil && ok && r.Kind == "sha512" && r.SHA256.Valid() {
		f.SHA256 = r.SHA256
		return f, nil
	}
	body := new(memory)
	for again := true; ; again = false {
		mirror, err := a.fill(ctx, p, paths, f, body)
		if err != nil {
			return f, err
		}
		if sum := sha512.Sum512(body.Bytes()); int64(body.Len()) == f.Size && hex.EncodeToString(sum[:]) == f.SHA512 {
			break
		}
		if body.Reset(); !again {
			return f, p.mismatch(mirror, f.Path, fmt.Errorf("its size or SHA-512 is not the one that Release leads to"))
		}
	}
	f.SHA256 = cache.Sum(body.Bytes())
	err := a.o.Store.Ensure(ctx, f.SHA256, f.Size, func(_ context.Context, part *cache.Part) error {
		_, err := part.Write(body.Bytes()[part.Offset():])
		return err
	})
	if err != nil {
		return f, err
	}
	return f, a.o.Store.StoreAction(key, sumRecord{"sha512", f.SHA256})
}

func isSHA512(s string) bool { return len(s) == 128 && strings.Trim(s, "0123456789abcdef") == "" }

// memory is a fetch.Sink.
type memory struct{ bytes.Buffer }

func (m *memory) Offset() int64 { return int64(m.Len()) }

func (m *memory) Reset() error {
	m.Buffer.Reset()
	return nil
}
