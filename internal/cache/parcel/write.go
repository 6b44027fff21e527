package parcel

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/rootctl/rootctl/internal/cache/pack"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

const block = 512

func folder(schema int) string { return fmt.Sprintf("rootctl-cache-%d", schema) }

func (r *Root) name() string     { return path.Join(folder(Schema), "roots", string(r.Digest)+".tar.zst") }
func (d *Download) name() string { return path.Join(folder(Schema), "dl", string(d.SHA256)) }

func indexName(d snapshot.Digest) string {
	return path.Join(folder(Schema), "index-"+string(d)+".json.zst")
}

// header is the one header that a member of that name and size has.
func header(name string, size int64) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)})
	if err == nil && b.Len() != block {
		err = fmt.Errorf("header of %d bytes", b.Len())
	}
	return b.Bytes(), err
}

func padding(size int64) int64 { return -size & (block - 1) }

// Write writes a parcel. open gives the content of a root or download by its digest; one that turns out to be other than
// the index says is an error, and the parcel has no end then.
func Write(ctx context.Context, w io.Writer, x *Index, open func(snapshot.Digest) (io.ReadCloser, error)) error {
	if err := x.check(); err != nil {
		return err
	}
	text, err := json.Marshal(x)
	if err != nil {
		return err
	}
	if len(text) > maxIndex {
		return fmt.Errorf("index of %d bytes", len(text))
	}
	var packed bytes.Buffer
	z, err := pack.Compress(snapshot.Zstd, &packed)
	if err == nil {
		_, err = z.Write(text)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return err
	}
	if packed.Len() > maxPacked {
		return fmt.Errorf("packed index of %d bytes", packed.Len())
	}
	sum := snapshot.Sum(packed.Bytes())
	if err := member(ctx, w, indexName(sum), int64(packed.Len()), sum, &packed); err != nil {
		return err
	}
	for i := range x.Roots {
		r := &x.Roots[i]
		if err := opened(ctx, w, r.name(), r.Size, r.SHA256, func() (io.ReadCloser, error) { return open(r.Digest) }); err != nil {
			return fmt.Errorf("root %s: %w", r.Digest.Short(), err)
		}
	}
	for i := range x.Downloads {
		d := &x.Downloads[i]
		if err := opened(ctx, w, d.name(), d.Size, d.SHA256, func() (io.ReadCloser, error) { return open(d.SHA256) }); err != nil {
			return fmt.Errorf("download %s: %w", d.SHA256.Short(), err)
		}
	}
	_, err = w.Write(make([]byte, 2*block))
	return err
}

func opened(ctx context.Context, w io.Writer, name string, size int64, sum snapshot.Digest, open func() (io.ReadCloser, error)) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	return member(ctx, w, name, size, sum, r)
}

// member writes one file and compares it with what the index says of it.
func member(ctx context.Context, w io.Writer, name string, size int64, sum snapshot.Digest, r io.Reader) error {
	head, err := header(name, size)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), io.LimitReader(&stoppable{ctx, r}, size+1))
	if err != nil {
		return err
	}
	if got := snapshot.Digest(hex.EncodeToString(h.Sum(nil))); n != size || got != sum {
		return fmt.Errorf("%s: %d bytes of sha256 %s, not %d of %s", path.Base(name), n, got.Short(), size, sum.Short())
	}
	_, err = w.Write(make([]byte, padding(size)))
	return err
}

// stoppable reads until ctx ends.
type stoppable struct {
	ctx context.Context
	r   io.Reader
}

func (s *stoppable) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(b)
}
