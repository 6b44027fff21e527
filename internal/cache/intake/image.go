package intake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// An Image is one image of a layout: what it takes to make a root of it. All its documents have the digests and sizes by
// which others name them.
type Image struct {
	Format   string // oci or docker
	Arch     string // Debian's word, "" if it does not say
	Manifest snapshot.Digest
	Notes    map[string]string // annotations of the manifest: the word of whoever made it
	Layers   []ImageLayer
	files    Files
}

// An ImageLayer is a tar, compressed or not.
type ImageLayer struct {
	name   string          // of its file
	digest snapshot.Digest // of that; "" in docker's own format, which has none
	size   int64           // -1: not known
	diffID snapshot.Digest // of the tar
}

const (
	maxDocument  = 16 << 20
	maxDocuments = 64 << 20 // all that are read to choose an image, one read twice counted twice
	maxImages    = 1000
	maxLayers    = 1000 // overlay filesystems take 500
	maxNesting   = 4
)

// OpenImage finds the image for an architecture: for the one asked for, else for the host's if there are several.
func OpenImage(ctx context.Context, files Files, asked, host string) (*Image, error) {
	c := &chooser{files: &countedFiles{Files: files, ctx: ctx, left: maxDocuments}, asked: asked, host: host, seen: map[string]bool{}}
	text, err := document(c.files, oci.IndexFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = c.docker()
	case err == nil:
		err = c.index(text, 0)
	}
	if err != nil {
		return nil, err
	}
	image, err := c.choose()
	if err == nil {
		image.files = files
	}
	return image, err
}

// countedFiles bounds what is read to choose an image: documents may name each other, or one of them, any number of times.
type countedFiles struct {
	Files
	ctx  context.Context
	left int64 // bytes
}

func (c *countedFiles) Open(name string) (io.ReadCloser, int64, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, 0, err
	}
	f, size, err := c.Files.Open(name)
	if err != nil || size > maxDocument { // which document refuses
		return f, size, err
	}
	if c.left -= size + 1<<10; c.left < 0 {
		f.Close()
		return nil, 0, &LimitError{"bytes of documents that speak of images", maxDocuments, "take one image of it: skopeo copy oci:FOLDER:NAME oci-archive:one.tar"}
	}
	return f, size, nil
}

// document reads a small file whole.
func document(files Files, name string) ([]byte, error) {
	f, size, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxDocument {
		return nil, &LimitError{"bytes in " + name, maxDocument, "no image has as many: look at what it holds"}
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && int64(len(b)) != size {
		err = fmt.Errorf("%s has %d bytes, not %d", name, len(b), size)
	}
	return b, err
}

// blobName is where a descriptor's blob lies.
func blobName(d *oci.Descriptor) (string, snapshot.Digest, error) {
	digest, err := snapshot.ParseDigest(d.Digest)
	if err != nil || !strings.HasPrefix(d.Digest, "sha256:") {
		return "", "", &FormatError{What: fmt.Sprintf("it names a blob by the digest %s", quoted(d.Digest)), Next: "only sha256 is known: write the image again with skopeo copy"}
	}
	return path.Join(oci.BlobFolder, string(digest)), digest, nil
}

// blob reads a document by its descriptor.
func blob(files Files, d *oci.Descriptor) ([]byte, error) {
	name, digest, err := blobName(d)
	if err != nil {
		return nil, err
	}
	b, err := document(files, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &FormatError{What: "its blob " + d.Digest + " is missing", Next: "the image is not whole: write it again"}
	}
	if err != nil {
		return nil, err
	}
	return b, sameBlob(digest, d.Size, snapshot.Sum(b), int64(len(b)))
}

func sameBlob(want snapshot.Digest, wantSize int64, got snapshot.Digest, size int64) error {
	switch {
	case wantSize >= 0 && size != wantSize:
		return &FormatError{What: fmt.Sprintf("its blob %s has %d bytes, not %d", want.Short(), size, wantSize), Next: "the image is damaged: write it again"}
	case want != got:
		return &FormatError{What: fmt.Sprintf("its blob %s has another digest: %s", want.Short(), got.Short()), Next: "the image is damaged: write it again"}
	}
	return nil
}

func tooManyImages() error {
	return &LimitError{"images", maxImages, "take one of them: skopeo copy oci:FOLDER:NAME oci-archive:one.tar"}
}

// A chooser collects the images of a layout.
type chooser struct {
	files       Files
	asked, host string
	seen        map[string]bool // by digest
	images      []*Image
	names       []string
}

func (c *chooser) index(text []byte, depth int) error {
	if depth > maxNesting {
		return &FormatError{What: "its indices are nested too deeply"}
	}
	var index oci.Index
	if err := json.Unmarshal(text, &index); err != nil {
		return &FormatError{What: "its index cannot be read", Err: err}
	}
	if len(index.Manifests) > maxImages {
		return tooManyImages()
	}
	for i := range index.Manifests {
		if err := c.manifest(&index.Manifests[i], depth); err != nil {
			return err
		}
	}
	return nil
}

// manifest adds an image, or those of an index, unless it is of an architecture that is not wanted.
func (c *chooser) manifest(d *oci.Descriptor, depth int) error {
	if c.seen[d.Digest] || d.Annotations["vnd.docker.reference.type"] != "" {
		return nil
	}
	if len(c.seen) == maxImages {
		return tooManyImages()
	}
	c.seen[d.Digest] = true
	arch := ""
	if p := d.Platform; p != nil && p.Architecture != "" && p.Architecture != "unknown" {
		var err error
		if arch, err = debianArch(*p); err != nil {
			return err
		}
		if c.asked != "" && arch != c.asked && !strings.Contains(d.MediaType, "index") && !strings.Contains(d.MediaType, "list") {
			c.names = append(c.names, arch)
			return nil
		}
	}
	text, err := blob(c.files, d)
	if err != nil {
		return err
	}
	var m struct {
		oci.Manifest
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return &FormatError{What: "its manifest " + d.Digest + " cannot be read", Err: err}
	}
	if m.Manifests != nil {
		return c.index(text, depth+1)
	}
	digest, _ := snapshot.ParseDigest(d.Digest)
	image := &Image{Format: "oci", Manifest: digest, Notes: m.Annotations, Arch: arch, files: c.files}
	if err := image.configure(&m.Manifest); err != nil {
		return err
	}
	if c.asked != "" && image.Arch != "" && image.Arch != c.asked {
		c.names = append(c.names, image.Arch)
		return nil
	}
	c.names = append(c.names, image.Arch)
	c.images = append(c.images, image)
	return nil
}

// configure reads the config of an image and joins its list of layers with the manifest's.
func (i *Image) configure(m *oci.Manifest) error {
	text, err := blob(i.files, &m.Config)
	if err != nil {
		return err
	}
	ids, err := i.config(text)
	if err != nil {
		return err
	}
	if len(ids) != len(m.Layers) {
		return &FormatError{What: fmt.Sprintf("its config lists %d layers, and its manifest %d", len(ids), len(m.Layers)), Next: "it is no image of a root, or damaged"}
	}
	for k := range m.Layers {
		l := &m.Layers[k]
		name, digest, err := blobName(l)
		if err != nil {
			return err
		}
		i.Layers = append(i.Layers, ImageLayer{name, digest, l.Size, ids[k]})
	}
	return nil
}

// config reads a config and returns the digests of the layers' tars.
func (i *Image) config(text []byte) ([]snapshot.Digest, error) {
	var c struct {
		oci.Platform
		RootFS oci.RootFS `json:"rootfs"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, &FormatError{What: "its config cannot be read", Err: err}
	}
	if c.OS != "" && c.OS != "linux" {
		return nil, &FormatError{What: "it is an image for " + quoted(c.OS), Next: "rootctl runs those for linux"}
	}
	if len(c.RootFS.DiffIDs) == 0 || len(c.RootFS.DiffIDs) > maxLayers {
		return nil, &FormatError{What: fmt.Sprintf("its config lists %d layers", len(c.RootFS.DiffIDs)), Next: "it is no image of a root, or damaged"}
	}
	if c.Architecture != "" {
		var err error
		if i.Arch, err = debianArch(c.Platform); err != nil {
			return nil, err
		}
	}
	ids := make([]snapshot.Digest, len(c.RootFS.DiffIDs))
	for k, text := range c.RootFS.DiffIDs {
		var err error
		if ids[k], err = snapshot.ParseDigest(text); err != nil {
			return nil, &FormatError{What: "its config lists a layer by no sha256", Err: err}
		}
	}
	return ids, nil
}

// choose takes the only image, or the only one for the host.
func (c *chooser) choose() (*Image, error) {
	images := c.images
	if len(images) > 1 && c.asked == "" {
		images = slices.DeleteFunc(slices.Clone(images), func(i *Image) bool { return i.Arch != c.host })
	}
	slices.Sort(c.names)
	have := strings.Join(slices.Compact(c.names), ", ")
	switch {
	case len(c.names) == 0:
		return nil, &FormatError{What: "it holds no image", Next: "write one into it first"}
	case len(images) == 0 && c.asked != "":
		return nil, &FormatError{What: fmt.Sprintf("it holds no image for %s", c.asked), Next: "it has " + have}
	case len(images) == 0:
		return nil, &FormatError{What: fmt.Sprintf("it holds no image for %s", c.host), Next: "choose one with --arch: it has " + have}
	case len(images) > 1:
		return nil, &FormatError{What: fmt.Sprintf("it holds %d images for %s", len(images), images[0].Arch),
			Next: "write one alone, such as with: skopeo copy oci:FOLDER:NAME oci-archive:one.tar"}
	}
	return images[0], nil
}

// debianArch gives a platform its Debian name; one that Debian does not have keeps its own, if that is a
// word of small letters and digits: paths and configuration are made of it.
func debianArch(p oci.Platform) (string, error) {
	for _, arch := range []string{"amd64", "arm64", "i386", "armhf", "armel", "ppc64el", "riscv64", "s390x", "mipsel", "mips64el"} {
		o := oci.PlatformOf(arch)
		if o.Architecture == p.Architecture && (p.Architecture != "arm" || o.Variant == p.Variant || p.Variant == "" && arch == "armhf" ||
			p.Variant == "v6" && arch == "armel") {
			return arch, nil
		}
	}
	if len(p.Architecture) > 32 || strings.Trim(p.Architecture, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return "", &FormatError{What: "it is an image for " + quoted(p.Architecture) + ", which is no architecture", Next: "it is damaged, or made to do harm: take it from another place"}
	}
	return p.Architecture, nil
}

// docker reads what docker save and podman save --format docker-archive write.
func (c *chooser) docker() error {
	text, err := document(c.files, "manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return &FormatError{What: "it has neither index.json nor manifest.json, so it is no image", Next: "give an OCI layout, or what docker save or podman save writes"}
	}
	if err != nil {
		return err
	}
	var list []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return &FormatError{What: "its manifest.json cannot be read", Err: err}
	}
	if len(list) > maxImages {
		return tooManyImages()
	}
	for _, m := range list {
		text, err := document(c.files, m.Config)
		var limit *LimitError
		if errors.As(err, &limit) || errors.Is(err, context.Canceled) {
			return err
		}
		if err != nil {
			return &FormatError{What: "its config cannot be read", Err: err}
		}
		image := &Image{Format: "docker"}
		name := strings.TrimSuffix(path.Base(m.Config), ".json")
		if digest := snapshot.Digest(name); digest.Valid() {
			if err := sameBlob(digest, -1, snapshot.Sum(text), 0); err != nil {
				return err
			}
		}
		ids, err := image.config(text)
		if err != nil {
			return err
		}
		if len(ids) != len(m.Layers) {
			return &FormatError{What: fmt.Sprintf("its config lists %d layers, and its manifest.json %d", len(ids), len(m.Layers)), Next: "the image is damaged: write it again"}
		}
		for k, l := range m.Layers {
			image.Layers = append(image.Layers, ImageLayer{name: l, size: -1, diffID: ids[k]})
		}
		c.names = append(c.names, image.Arch)
		if c.asked == "" || image.Arch == "" || image.Arch == c.asked {
			c.images = append(c.images, image)
		}
	}
	return nil
}
