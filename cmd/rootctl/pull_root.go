package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/oci/registry"
	"github.com/rootctl/rootctl/internal/debootstrap/deb"
)

// pulling is one image of a registry on its way to being a root. The layer is hashed, decompressed, unpacked and hashed
// again, as a tar, while it arrives.
type pulling struct {
	*app
	store    *cache.Store
	repo     *registry.Repository
	image    *oci.Manifest
	progress func(done int64)                           // may be nil
	look     func(tree string, m *cache.Manifest) error // into the root before it is sealed; may be nil
	pool     deb.Pool
	later    bool // a command waits for the root, and nobody for the disk: cache.SealForBoot

	root    cache.Digest // what the image says to be
	layer   cache.Digest
	tarSize int64
	entries int
	arch    string // the config's word
	cached  bool
	there   *cache.Lease // while it is cached and once goes on
	resumed int64        // bytes that an earlier pull had brought
}

func (p *pulling) size() int64 {
	if len(p.image.Layers) != 1 {
		return 0
	}
	return p.image.Layers[0].Size
}

// epoch is the annotation's, which nothing but what is shown hangs on.
func (p *pulling) epoch() int64 {
	n, err := strconv.ParseInt(p.image.Annotations[oci.EpochKey], 10, 64)
	if err != nil || n < 0 || n > math.MaxInt32*4 {
		return 0
	}
	return n
}

// compression of the layer, as a file's suffix says it.
func (p *pulling) compression() (string, error) {
	switch strings.TrimPrefix(p.image.Layers[0].MediaType, oci.TypeTar) {
	case "":
		return "", nil
	case "+zstd":
		return "zst", nil
	case "+gzip":
		return "gz", nil
	}
	return "", fmt.Errorf("its layer is %q, which rootctl does not read", p.image.Layers[0].MediaType)
}

// check reads what the image says of itself.
func (p *pulling) check() (err error) {
	not := func(format string, args ...any) error {
		return withHint(fmt.Errorf(format, args...), "for an image of another tool: skopeo copy docker://%s oci-archive:image.tar, and rootctl import image.tar", p.repo.Ref())
	}
	if p.root, err = cache.ParseDigest(p.image.Annotations[oci.RootKey]); err != nil || len(p.image.Layers) != 1 {
		return not("it is no image that rootctl has made")
	}
	if p.layer, err = cache.ParseDigest(p.image.Layers[0].Digest); err != nil || p.size() <= 0 {
		return not("its layer has no digest or size")
	}
	_, err = p.compression()
	return err
}

// maxConfig bounds an image's config.
const maxConfig = 4 << 20

// config compares what the config says with the annotations.
func (p *pulling) config(ctx context.Context) error {
	text, err := p.repo.Small(ctx, p.image.Config, maxConfig)
	if err != nil {
		return err
	}
	var c oci.Config
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("its config cannot be read: %w", err)
	}
	if ids := c.RootFS.DiffIDs; len(ids) != 1 || ids[0] != "sha256:"+string(p.root) {
		return fmt.Errorf("its config and its annotation name different roots")
	}
	p.arch = oci.DebianOf(c.Platform)
	return nil
}

// run makes the root; what an earlier pull left is used, and if that was no good the root is pulled once more.
func (p *pulling) run(ctx context.Context, record func(cache.Digest) (cache.Ref, error)) (cache.Ref, *cache.Lease, error) {
	ref, lease, err := p.once(ctx, record)
	var mismatch *cache.MismatchError
	if errors.As(err, &mismatch) && p.resumed > 0 {
		p.log().Debug("what an earlier pull left was no good", "error", err)
		ref, lease, err = p.once(ctx, record)
	}
	if err != nil && ctx.Err() != nil {
		return ref, nil, ctx.Err()
	}
	var remote *registry.Error
	if errors.As(err, &mismatch) {
		err = withHint(err, "what the registry holds is damaged or was tampered with: delete it there and push it again")
	}
	if err != nil && !errors.As(err, &remote) {
		err = fmt.Errorf("pull from %s: %w", p.repo.Ref(), err)
	}
	return ref, lease, err
}

func (p *pulling) once(ctx context.Context, record func(cache.Digest) (cache.Ref, error)) (cache.Ref, *cache.Lease, error) {
	if err := p.check(); err != nil {
		return cache.Ref{}, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	config := make(chan error, 1)
	go func() { config <- p.config(ctx) }()
	defer func() {
		cancel()
		<-config
		if p.there != nil {
			p.there.Close()
			p.there = nil
		}
	}()
	return p.newRootBy(ctx, p.store, p.seal, func(tree, _ string) (*cache.Manifest, error) {
		m, err := p.fill(ctx, tree)
		if err != nil {
			return nil, err
		}
		err = <-config
		config <- nil
		if err != nil {
			return nil, err
		}
		if m.Digest != p.root {
			return nil, &registry.MismatchError{What: "the root", Want: "sha256:" + string(p.root), Got: "sha256:" + string(m.Digest)}
		}
		p.tarSize, p.entries = m.TarSize, len(m.Entries)
		if p.there != nil {
			tree = p.there.Tree
		}
		if p.look != nil {
			err = p.look(tree, m)
		}
		return m, err
	}, record)
}

func (p *pulling) seal(ctx context.Context, t *cache.Temp, tree string, m *cache.Manifest, d cache.Digest) (*cache.Lease, error) {
	if p.later {
		return p.store.SealForBoot(ctx, t, tree, m, d)
	}
	return p.store.SealSettled(ctx, t, tree, m, d)
}

// fill takes the root from the cache if it is there, else unpacks it into tree.
func (p *pulling) fill(ctx context.Context, tree string) (*cache.Manifest, error) {
	part, err := p.store.OpenPart(ctx, p.layer, p.size())
	if err != nil {
		return nil, err
	}
	defer part.Close()
	if lease, err := p.store.Lease(ctx, p.root); err == nil { // also when another process was first
		if m, err := lease.Manifest(); err == nil {
			p.cached, p.there = true, lease
			return m, nil
		}
		lease.Close()
	}
	p.resumed = part.Left()
	blob := p.repo.Blob(ctx, p.image.Layers[0], part.Left())
	defer blob.Close()
	return p.unpack(ctx, tree, part, &meteredReader{r: part.Reader(blob), done: p.progress})
}

// unpack makes a tree of the layer. The layer is read to its end whatever comes of it: if its digest is wrong, that is why.
func (p *pulling) unpack(ctx context.Context, tree string, part *cache.OpenPart, in *meteredReader) (*cache.Manifest, error) {
	limit, err := importLimit(p.store, "")
	if err != nil {
		return nil, err
	}
	u, err := intake.New(ctx, tree, intake.Options{MaxSize: limit, DiskCannot: p.inside.single(), Later: p.later})
	if err != nil {
		return nil, err
	}
	defer u.Close()
	err = p.read(ctx, u, in, limit)
	var tooMuch *intake.LimitError
	if errors.As(err, &tooMuch) {
		return nil, err
	}
	_, _ = io.Copy(io.Discard, in) // the error is in.err
	if in.err != nil {
		return nil, in.err
	}
	if e := part.Check(); e != nil {
		return nil, e
	}
	part.Remove() // before the disk is asked to write all it has
	if err != nil {
		return nil, err
	}
	m, err := u.Finish(ctx, tree)
	p.later = p.later && !u.Holes()
	return m, err
}

func (p *pulling) read(ctx context.Context, u *intake.Unpacker, in io.Reader, limit int64) error {
	kind, err := p.compression()
	if err != nil {
		return err
	}
	// Headers and padding take room, too: a bound for what has no end.
	plain, err := p.pool.Decompress(bufio.NewReaderSize(in, 128<<10), kind, limit/8*9+8<<30)
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	defer plain.Close()
	return u.Layer(ctx, plain, false, true)
}

// A meteredReader tells how far it is, now and then.
type meteredReader struct {
	r    io.Reader
	n    int64
	done func(int64)
	last time.Time
	err  error // of r
}

func (m *meteredReader) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.n += int64(n)
	if err != nil && err != io.EOF {
		m.err = err
	}
	if now := time.Now(); m.done != nil && n > 0 && now.Sub(m.last) > 50*time.Millisecond {
		m.last = now
		m.done(m.n)
	}
	return n, err
}
