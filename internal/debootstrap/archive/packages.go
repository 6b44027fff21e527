package archive

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unsafe"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/deb"
)

// maxIndex bounds the text of one Packages file; Debian's largest is 60 MB.
const maxIndex = 512 << 20

// Bytes of text that one core decodes a second: bookworm's index (50 MB; gz 12.1 MB, xz 8.8 MB), 2026. From
// about 3 MB/s on, gz is here first.
const (
	speedGzip = 300e6
	speedXz   = 45e6
)

// Packages returns the index of a component: its text, verified. A *Stale error means that the mirror
// does not have it as its Release says.
func (a *Archive) Packages(ctx context.Context, p *Pocket, component string) (string, error) {
	name := component + "/binary-" + a.o.Arch + "/Packages"
	plain, listed := p.Release.Files[name]
	f, form, err := a.choose(p.Suite, p.Release, name)
	if err != nil {
		return "", err
	}
	if !listed {
		plain = File{Path: name, Size: -1}
	}
	if plain.Size > maxIndex || f.Size > maxIndex {
		return "", fmt.Errorf("read %s of %s: larger than %d bytes", name, p.Suite, maxIndex)
	}
	if plain.Size == 0 {
		return "", nil
	}
	for again := true; ; again = false {
		if f, err = a.ensureIndex(ctx, p, f); err != nil {
			return "", fmt.Errorf("fetch %s of %s: %w", name, p.Suite, err)
		}
		text, err := a.decode(f, form, plain)
		if err == nil {
			return text, nil
		}
		// Either our copy has been damaged since it was verified, or the archive contradicts itself.
		if !again || a.o.Store.VerifyDownload(ctx, f.SHA256) == nil {
			return "", fmt.Errorf("read %s of %s: %w", f.Path, p.Suite, err)
		}
	}
}

// choose takes the form of an index that the store has, else the one that is here and decoded first.
func (a *Archive) choose(suite string, r *Release, name string) (f File, form string, err error) {
	var forms []string
	for _, s := range []string{"gz", "xz", ""} {
		if e, ok := r.Files[strings.TrimSuffix(name+"."+s, ".")]; ok {
			if a.o.Store.HasDownload(a.learned(e), e.Size) {
				return e, s, nil
			}
			forms = append(forms, s)
		}
	}
	if len(forms) == 0 {
		return f, "", fmt.Errorf("%s has no %s: %w; its architectures are %s, its components %s", suite, name, ErrNotFound,
			strings.Join(r.Architectures, ", "), strings.Join(r.Components, ", "))
	}
	gz, xz := r.Files[name+".gz"], r.Files[name+".xz"]
	form = forms[0]
	if gz.Size > 0 && xz.Size > 0 && preferXz(gz.Size, xz.Size, r.Files[name].Size, a.o.Client.Rate()) {
		form = "xz"
	}
	return r.Files[strings.TrimSuffix(name+"."+form, ".")], form, nil
}

// preferXz weighs the bytes that xz saves against the time it takes to decode. At an unknown rate it
// saves bytes.
func preferXz(gz, xz, plain int64, rate float64) bool {
	if rate == 0 {
		return true
	}
	cost := func(size int64, speed float64) float64 { return float64(size)/rate + float64(plain)/speed }
	return cost(xz, speedXz) < cost(gz, speedGzip)
}

func (a *Archive) ensureIndex(ctx context.Context, p *Pocket, f File) (File, error) {
	dists := "dists/" + p.Suite + "/"
	paths := []string{dists + f.Path}
	if p.Release.ByHash {
		paths = slices.Insert(paths, 0, dists+byHash(f))
	}
	f, err := a.learn(ctx, p, paths, f)
	if err != nil {
		return f, err
	}
	return f, a.ensure(ctx, p, paths, f)
}

// decode reads an index into one buffer of its size; plain.Size < 0 if Release does not give it.
func (a *Archive) decode(f File, form string, plain File) (text string, err error) {
	file, err := a.o.Store.OpenDownload(f.SHA256)
	if err != nil {
		return "", err
	}
	defer file.Close()
	limit := plain.Size
	if limit < 0 {
		limit = maxIndex
	}
	var pool deb.Pool
	r, err := pool.Decompress(file, form, limit)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if plain.Size < 0 {
		b, err := io.ReadAll(r)
		return view(b), err
	}
	buf := make([]byte, plain.Size)
	if _, err := io.ReadFull(r, buf); err != nil {
		return "", fmt.Errorf("shorter than its %d bytes: %w", plain.Size, err)
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("longer than its %d bytes, or damaged at the end (%w)", plain.Size, err)
	}
	if plain.SHA512 != "" {
		if sum := sha512.Sum512(buf); hex.EncodeToString(sum[:]) != plain.SHA512 {
			return "", fmt.Errorf("%s has another SHA-512 than Release states", plain.Path)
		}
		return view(buf), nil
	}
	sum := sha256.Sum256(buf)
	if got := hex.EncodeToString(sum[:]); got != string(plain.SHA256) {
		return "", &cache.MismatchError{Want: plain.SHA256, Got: cache.Digest(got), WantSize: plain.Size, Length: plain.Size}
	}
	return view(buf), nil
}

// view makes a string of bytes that nobody will write to again: a copy of 50 MB counts.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
