package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// ImageMeta is what an image says of its root beside the layer.
type ImageMeta struct {
	Arch       string   `json:"arch"` // Debian's word
	Epoch      int64    `json:"epoch"`
	Key        Digest   `json:"key,omitempty"`
	Suite      string   `json:"suite,omitempty"`
	Variant    string   `json:"variant,omitempty"`
	Unverified bool     `json:"unverified,omitempty"`
	Cmd        []string `json:"cmd,omitempty"` // what a container runs by default
}

// serves reports whether an image that says m will do for one that is to say o. One that somebody's signature stands
// behind does for the same root from an unsigned archive.
func (m *ImageMeta) serves(o *ImageMeta) bool {
	return string(oci.Text(m)) == string(oci.Text(o)) || o.Unverified && !m.Unverified
}

// An Image is a root as an OCI image of one layer.
type Image struct {
	Root                    Digest
	Layer, Config, Manifest oci.Descriptor
	ConfigText, Text        []byte // of Config and Manifest
	Teed                    bool   // the layer was made by this call, and is in ImageOptions.Tee
}

// NewImage describes root with a layer that holds its canonical tar in compression c and has that digest and size.
func NewImage(root Digest, c snapshot.Compression, layer Digest, size int64, meta ImageMeta) *Image {
	created := time.Unix(meta.Epoch, 0).UTC()
	platform := oci.PlatformOf(meta.Arch)
	i := &Image{Root: root, Layer: oci.Descriptor{MediaType: layerType(c), Digest: "sha256:" + string(layer), Size: size}}
	i.ConfigText = oci.Text(oci.Config{Created: created, Platform: platform,
		Config:  oci.RunConfig{Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Cmd: meta.Cmd},
		RootFS:  oci.RootFS{Type: "layers", DiffIDs: []string{"sha256:" + string(root)}},
		History: []oci.History{{Created: created, CreatedBy: "rootctl"}}})
	i.Config = describe(oci.TypeConfig, i.ConfigText)
	notes := map[string]string{oci.RootKey: "sha256:" + string(root), oci.EpochKey: strconv.FormatInt(meta.Epoch, 10)}
	for key, value := range map[string]string{oci.KeyKey: string(meta.Key), oci.SuiteKey: meta.Suite, oci.VariantKey: meta.Variant} {
		if value != "" {
			notes[key] = value
		}
	}
	if meta.Unverified {
		notes[oci.UnverifiedKey] = "true"
	}
	i.Text = oci.Text(oci.Manifest{SchemaVersion: 2, MediaType: oci.TypeManifest, Config: i.Config,
		Layers: []oci.Descriptor{i.Layer}, Annotations: notes})
	i.Manifest = describe(oci.TypeManifest, i.Text)
	i.Manifest.Platform = &platform
	i.Manifest.Annotations = map[string]string{oci.RootKey: "sha256:" + string(root)}
	return i
}

func describe(mediaType string, text []byte) oci.Descriptor {
	return oci.Descriptor{MediaType: mediaType, Digest: "sha256:" + string(Sum(text)), Size: int64(len(text))}
}

func layerType(c snapshot.Compression) string {
	if c == snapshot.None {
		return oci.TypeTar
	}
	return oci.TypeTar + "+" + string(c)
}

func digestOf(d oci.Descriptor) Digest {
	digest, _ := ParseDigest(d.Digest)
	return digest
}

// imageRecord stands in actions/ and names the blobs of an image.
type imageRecord struct {
	Kind        string               `json:"kind"` // "image"
	Root        Digest               `json:"root"`
	Compression snapshot.Compression `json:"compression"`
	Encoder     int                  `json:"encoder"` // snapshot.ZstdEpoch
	Blobs       []Digest             `json:"blobs"`   // layer, config, manifest
	LayerSize   int64                `json:"layer_size"`
	Meta        ImageMeta            `json:"meta"`
}

func imageKey(root Digest) Digest {
	return Sum(fmt.Appendf(nil, "image %s zstd %d", root, snapshot.ZstdEpoch))
}

func (r *imageRecord) image() *Image {
	return NewImage(r.Root, r.Compression, r.Blobs[0], r.LayerSize, r.Meta)
}

// good reports whether r is one that this rootctl has written.
func (r *imageRecord) good() bool {
	return r.Kind == "image" && r.Root.Valid() && r.Compression == snapshot.Zstd && len(r.Blobs) == 3 && r.Blobs[0].Valid() && r.LayerSize > 0 &&
		slices.Equal(r.Blobs, r.image().blobs(r.Blobs[0]))
}

func (i *Image) blobs(layer Digest) []Digest {
	return []Digest{layer, digestOf(i.Config), digestOf(i.Manifest)}
}

// ImageOptions go with Store.Image.
type ImageOptions struct {
	Meta     ImageMeta
	Pack     snapshot.Packer
	Waiting  func()    // called once if another process makes it; may be nil
	Progress io.Writer // is written what of the tar is packed; may be nil
	Tee      io.Writer // is written the layer while it is made; may be nil
}

// Image returns the image of the leased root, made at the first call and kept, and its layer, checked and open for
// reading. In a read-only cache that has none it gives ErrReadOnly.
func (s *Store) Image(ctx context.Context, l *Lease, o ImageOptions) (*Image, *os.File, error) {
	i, layer, err := s.image(ctx, l, &o)
	if err != nil {
		return nil, nil, fmt.Errorf("image of root %s: %w", l.Root.Short(), s.fault(err))
	}
	return i, layer, nil
}

func (s *Store) image(ctx context.Context, l *Lease, o *ImageOptions) (*Image, *os.File, error) {
	if i, layer, err := s.lookUpImage(ctx, l.Root, o.Meta); i != nil || err != nil {
		return i, layer, err
	}
	// The lease is a shared lock of the root, taken before these two: nobody waits for an exclusive one.
	sl, err := s.LockStore(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer sl.Close()
	kl, err := s.LockKey(ctx, imageKey(l.Root), o.Waiting)
	if err != nil {
		return nil, nil, err
	}
	defer kl.Close()
	if i, layer, err := s.lookUpImage(ctx, l.Root, o.Meta); i != nil || err != nil { // another process may have made it
		return i, layer, err
	}
	rec, layer, teed, err := s.layer(ctx, l, o)
	if err != nil {
		return nil, nil, err
	}
	i, err := s.keepImage(rec)
	if err != nil {
		layer.Close()
		return nil, nil, err
	}
	i.Teed = teed
	return i, layer, nil
}

// lookUpImage gives no image and no error where one has to be made.
func (s *Store) lookUpImage(ctx context.Context, root Digest, meta ImageMeta) (*Image, *os.File, error) {
	var rec imageRecord
	ok, err := s.LoadAction(imageKey(root), &rec)
	if err != nil || !ok || !rec.good() || rec.Root != root || !s.readOnly && !rec.Meta.serves(&meta) {
		return nil, nil, err
	}
	i := rec.image()
	for _, d := range []oci.Descriptor{i.Config, i.Manifest} {
		f, err := s.OpenBlob(ctx, digestOf(d), d.Size)
		if errors.Is(err, ErrNotFound) {
			return nil, nil, nil
		}
		if err != nil {
			return nil, nil, err
		}
		f.Close()
	}
	layer, err := s.OpenBlob(ctx, rec.Blobs[0], rec.LayerSize)
	if errors.Is(err, ErrNotFound) {
		return nil, nil, nil
	}
	return i, layer, err
}

// layer finds the layer that an image of before has, or makes it.
func (s *Store) layer(ctx context.Context, l *Lease, o *ImageOptions) (rec *imageRecord, _ *os.File, teed bool, _ error) {
	rec = &imageRecord{}
	if ok, err := s.LoadAction(imageKey(l.Root), rec); err == nil && ok && rec.good() && rec.Root == l.Root {
		rec.Meta = o.Meta
		if layer, err := s.OpenBlob(ctx, rec.Blobs[0], rec.LayerSize); err == nil {
			return rec, layer, false, nil
		}
	}
	d, size, err := s.writeBlob(func(w io.Writer) error {
		if o.Tee != nil {
			w = io.MultiWriter(w, o.Tee)
		}
		return l.WriteTar(ctx, w, o.Pack, snapshot.Zstd, o.Progress)
	})
	if err != nil {
		return nil, nil, false, err
	}
	layer, err := os.Open(s.blobPath(d))
	if err != nil {
		return nil, nil, false, err
	}
	return &imageRecord{Kind: "image", Root: l.Root, Compression: snapshot.Zstd, Encoder: snapshot.ZstdEpoch,
		Blobs: []Digest{d}, LayerSize: size, Meta: o.Meta}, layer, o.Tee != nil, nil
}

// keepImage writes config and manifest, the record, and the image's place in the index.
func (s *Store) keepImage(rec *imageRecord) (*Image, error) {
	i := rec.image()
	for _, text := range [][]byte{i.ConfigText, i.Text} {
		if _, _, err := s.writeBlob(func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		}); err != nil {
			return nil, err
		}
	}
	rec.Blobs = i.blobs(rec.Blobs[0])
	err := s.changeImage(i, func() error { return s.StoreAction(imageKey(i.Root), rec) })
	return i, err
}

// WriteTar writes the canonical tar in compression c, and its plain bytes to progress, too, if that is not nil. If what
// comes out is not what the root's name says, the error is a *snapshot.TreeError, and the stream has no end.
func (l *Lease) WriteTar(ctx context.Context, w io.Writer, packer snapshot.Packer, c snapshot.Compression, progress io.Writer) error {
	m, err := l.Manifest()
	if err != nil {
		return err
	}
	pack, err := packer(c, w)
	if err != nil {
		return err
	}
	if progress != nil {
		err = m.WriteTarSum(ctx, io.MultiWriter(pack, progress), l.Tree)
	} else {
		err = m.WriteTarSum(ctx, pack, l.Tree)
	}
	if err != nil {
		return err // pack has nothing that needs an end, and its end would make the stream look whole
	}
	return pack.Close()
}
