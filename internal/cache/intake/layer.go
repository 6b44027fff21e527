package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Decompress returns the plain form of r.
type Decompress func(r io.Reader) (io.ReadCloser, error)

// Image adds the layers of an image, the lowest first, and checks the digest and size of each file and of each tar.
func (u *Unpacker) Image(ctx context.Context, i *Image, decompress Decompress) error {
	for k := range i.Layers {
		if err := u.imageLayer(ctx, i.files, &i.Layers[k], decompress); err != nil {
			if errors.Is(err, context.Canceled) {
				return err
			}
			return fmt.Errorf("layer %d of %d: %w", k+1, len(i.Layers), err)
		}
	}
	return nil
}

func (u *Unpacker) imageLayer(ctx context.Context, files Files, l *ImageLayer, decompress Decompress) error {
	f, size, err := files.Open(l.name)
	if errors.Is(err, fs.ErrNotExist) {
		return &FormatError{What: "its file " + quoted(l.name) + " is missing", Next: "the image is not whole: write it again"}
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if l.size >= 0 && size != l.size {
		return sameBlob(l.digest, l.size, "", size)
	}
	packed := &summed{f, sha256.New()}
	plain, err := decompress(packed)
	var unpacked *summed
	if err == nil {
		defer plain.Close()
		unpacked = &summed{plain, sha256.New()}
		err = u.Layer(ctx, unpacked, true, true)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var limit *LimitError
	if errors.As(err, &limit) { // the rest is not worth reading
		return err
	}
	if l.digest != "" {
		// If the file is damaged that is why, whatever else went wrong.
		if _, e := io.Copy(io.Discard, &stoppable{ctx, packed}); e != nil {
			return errors.Join(err, e)
		}
		if e := sameBlob(l.digest, -1, packed.sum(), 0); e != nil {
			return e
		}
	}
	if err != nil {
		return err
	}
	if got := unpacked.sum(); got != l.diffID {
		return &FormatError{What: fmt.Sprintf("its tar has the digest %s, and its config says %s", got.Short(), l.diffID.Short()), Next: "the image is damaged: write it again"}
	}
	return nil
}

// summed hashes what is read.
type summed struct {
	r io.Reader
	h hash.Hash
}

func (s *summed) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	s.h.Write(b[:n])
	return n, err
}

func (s *summed) sum() snapshot.Digest { return snapshot.Digest(hex.EncodeToString(s.h.Sum(nil))) }
