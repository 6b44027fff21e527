package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// An Upload is a manifest with the blobs that it names.
type Upload struct {
	Manifest  oci.Descriptor
	Text      []byte // of the manifest
	Blobs     []Content
	Tags      []string
	Referrers []oci.Referrer
	Progress  io.Writer   // is written what of the blobs is sent; may be nil
	Refused   func(error) // is told why the registry has the image without its documents; may be nil
}

// Content is a blob to be pushed.
type Content struct {
	oci.Descriptor
	Data []byte   // if it is small, else
	File *os.File // read by offset
}

func (c *Content) open() *section {
	var at io.ReaderAt = bytes.NewReader(c.Data)
	if c.File != nil {
		at = c.File
	}
	return &section{SectionReader: io.NewSectionReader(at, 0, c.Size), at: at, size: c.Size}
}

// A section is a body that can be sent again.
type section struct {
	*io.SectionReader
	at       io.ReaderAt
	size     int64
	progress io.Writer
}

func (s *section) Read(b []byte) (int, error) {
	n, err := s.SectionReader.Read(b)
	if s.progress != nil {
		_, _ = s.progress.Write(b[:n]) // it counts
	}
	return n, err
}

func (s *section) Close() error { return nil }

// Rewind is a body like the first.
func (s *section) Rewind() (io.ReadCloser, error) {
	return &section{SectionReader: io.NewSectionReader(s.at, 0, s.size), at: s.at, size: s.size}, nil
}

// Has asks for the manifest that a tag names: its digest, or ErrNotFound.
func (r *Repository) Has(ctx context.Context, tag string) (string, error) {
	if err := r.Connect(ctx); err != nil {
		return "", err
	}
	d, err := r.repo.Manifests().Resolve(r.scoped(ctx, true), tag)
	if err != nil {
		return "", r.fail("read", err)
	}
	return d.Digest.String(), nil
}

// Push sends what of u the registry has not yet: blobs, the documents that speak of the manifest, and the manifest under
// its tags last. Who finds a tag finds all of it. It returns the bytes of blobs that were sent.
func (r *Repository) Push(ctx context.Context, u *Upload) (int64, error) {
	if err := r.Connect(ctx); err != nil {
		return 0, err
	}
	ctx = r.scoped(ctx, true)
	sent, err := r.pushBlobs(ctx, u.Blobs, u.Progress)
	if err != nil {
		return sent, err
	}
	if err := r.pushReferrers(ctx, u); err != nil {
		return sent, err
	}
	for _, tag := range u.Tags {
		if err := r.repo.Manifests().PushReference(ctx, descriptorOf(u.Manifest), bytes.NewReader(u.Text), tag); err != nil {
			return sent, r.fail("push", err)
		}
	}
	return sent, nil
}

func (r *Repository) pushBlobs(ctx context.Context, blobs []Content, progress io.Writer) (sent int64, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for i := range blobs {
		c := &blobs[i]
		g.Go(func() error {
			n, err := r.pushBlob(ctx, c, progress)
			mu.Lock()
			defer mu.Unlock()
			sent += n
			return err
		})
	}
	err = g.Wait()
	return sent, err
}

func (r *Repository) pushBlob(ctx context.Context, c *Content, progress io.Writer) (int64, error) {
	d := descriptorOf(c.Descriptor)
	var err error
	for range tries {
		var there bool
		if there, err = r.repo.Blobs().Exists(ctx, d); err != nil || there {
			break
		}
		body := c.open()
		body.progress = progress
		if err = r.repo.Blobs().Push(ctx, d, body); err == nil {
			return c.Size, nil
		}
		var status *statusError
		if errors.As(plainError(err), &status) && status.code != 404 || permanent(err) || ctx.Err() != nil { // an upload may be forgotten
			break
		}
		r.log.Debug("pushing a blob again", "blob", c.Digest, "error", plainError(err))
	}
	if err != nil {
		return 0, r.fail("push", err)
	}
	return 0, nil
}

// PushArtifact sends one document under a tag, unless it is there.
func (r *Repository) PushArtifact(ctx context.Context, tag string, doc oci.Referrer) error {
	if err := r.Connect(ctx); err != nil {
		return err
	}
	ctx = r.scoped(ctx, true)
	blob, empty := describe(doc.MediaType, doc.Data), describe(oci.TypeEmpty, []byte("{}"))
	text := oci.Text(oci.Artifact{SchemaVersion: 2, MediaType: oci.TypeManifest, ArtifactType: doc.ArtifactType, Config: empty,
		Layers: []oci.Descriptor{blob}, Annotations: doc.Annotations})
	manifest := describe(oci.TypeManifest, text)
	if there, err := r.Has(ctx, tag); err == nil && there == manifest.Digest {
		return nil
	}
	if _, err := r.pushBlobs(ctx, []Content{{blob, doc.Data, nil}, {empty, []byte("{}"), nil}}, nil); err != nil {
		return err
	}
	if err := r.repo.Manifests().PushReference(ctx, descriptorOf(manifest), bytes.NewReader(text), tag); err != nil {
		return r.fail("push", err)
	}
	return nil
}

func describe(mediaType string, text []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: "sha256:" + string(snapshot.Sum(text)), Size: int64(len(text))}
}
