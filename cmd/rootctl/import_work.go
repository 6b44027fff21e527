package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/deb"
)

// importing is one import under way.
type importing struct {
	*app
	store   *cache.Store
	from    string
	file    *os.File // from, opened
	arch    string   // asked for, "" if none
	options intake.Options
	start   time.Time
	pool    deb.Pool

	format  string
	layers  int
	entries int
	cached  bool
	dropped map[string]int
	info    debootstrap.Info
}

// run makes the root and its record. The lease is the caller's.
func (im *importing) run(ctx context.Context) (cache.Ref, *cache.Lease, error) {
	if err := im.open(ctx); err != nil { // before the lock: others need not wait for a pipe's writer
		return cache.Ref{}, nil, err
	}
	if im.file != im.stdin {
		defer im.file.Close()
	}
	return im.newRoot(ctx, im.store, func(tree, temp string) (*cache.Manifest, error) {
		m, err := im.unpack(ctx, tree, temp)
		if err != nil {
			return nil, err
		}
		if err := im.describe(tree, m); err != nil {
			return nil, err
		}
		if l, err := im.store.Lease(ctx, m.Digest); err == nil {
			im.cached = true
			l.Close()
		}
		return m, nil
	}, func(root cache.Digest) (cache.Ref, error) { return debootstrap.RememberImport(im.store, root, im.info) })
}

// newRoot has fill make a root and its manifest in a folder that goes when this process does, then records it. The lease is
// the caller's.
func (a *app) newRoot(ctx context.Context, store *cache.Store, fill func(tree, temp string) (*cache.Manifest, error),
	record func(cache.Digest) (cache.Ref, error)) (cache.Ref, *cache.Lease, error) {
	return a.newRootBy(ctx, store, store.SealSettled, fill, record)
}

// A sealer is SealSettled or SealForBoot.
type sealer func(context.Context, *cache.Temp, string, *cache.Manifest, cache.Digest) (*cache.Lease, error)

func (a *app) newRootBy(ctx context.Context, store *cache.Store, sealed sealer, fill func(tree, temp string) (*cache.Manifest, error),
	record func(cache.Digest) (cache.Ref, error)) (cache.Ref, *cache.Lease, error) {
	lock, err := store.LockStore(ctx)
	if err != nil {
		return cache.Ref{}, nil, err
	}
	defer lock.Close()
	if _, err := store.Sweep(); err != nil {
		a.log().Debug("sweep the cache", "error", err)
	}
	temp, err := store.Temp()
	if err != nil {
		return cache.Ref{}, nil, err
	}
	defer temp.Remove()
	release, err := guardTemp(temp)
	if err != nil {
		return cache.Ref{}, nil, fmt.Errorf("guard the temporary folder: %w", err)
	}
	defer release()
	tree := filepath.Join(temp.Path, "root")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return cache.Ref{}, nil, err
	}
	m, err := fill(tree, temp.Path)
	if err != nil {
		return cache.Ref{}, nil, err
	}
	lease, err := sealed(ctx, temp, tree, m, m.Digest)
	if err != nil {
		return cache.Ref{}, nil, err
	}
	ref, err := record(m.Digest)
	if err != nil {
		lease.Close()
		return cache.Ref{}, nil, err
	}
	return ref, lease, nil
}

// unpack fills tree and returns its manifest.
func (im *importing) unpack(ctx context.Context, tree, temp string) (*cache.Manifest, error) {
	u, err := intake.New(ctx, tree, im.options)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	if err := im.read(ctx, u, temp); err != nil {
		return nil, err
	}
	m, err := u.Finish(ctx, tree)
	if err != nil {
		return nil, err
	}
	im.entries, im.dropped = len(m.Entries), u.Dropped()
	return m, nil
}

func (im *importing) read(ctx context.Context, u *intake.Unpacker, temp string) error {
	f := im.file
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if im.from != "-" && st.IsDir() {
		return im.readFolder(ctx, u)
	}
	bar := im.startMeter("reading", st.Size())
	defer bar.close()
	plain, kind, err := im.decompress(io.TeeReader(&patient{ctx, f}, bar))
	if err != nil {
		return err
	}
	defer plain.Close()
	in := bufio.NewReaderSize(plain, 64<<10)
	head, _ := in.Peek(64 << 10) // an error comes again with the first read
	if !intake.IsImage(head) {
		im.format, im.layers = "tar", 1
		if kind != "" {
			im.format += "." + kind
		}
		return u.Layer(ctx, in, false, false)
	}
	if kind != "" || im.from == "-" || !st.Mode().IsRegular() {
		return im.readSpooled(ctx, u, in, filepath.Join(temp, "image.tar"))
	}
	files, err := intake.OpenArchive(f, st.Size())
	if err != nil {
		return err
	}
	return im.readImage(ctx, u, files)
}

func (im *importing) readFolder(ctx context.Context, u *intake.Unpacker) error {
	files, err := intake.OpenFolder(im.from)
	if err != nil {
		return err
	}
	defer files.Close()
	err = im.readImage(ctx, u, files)
	if im.format == "" && err != nil && inRoot(im.from, "sh") {
		return withHint(err, "if it is a root: tar -C %s --numeric-owner --xattrs --xattrs-include='*' -c . | rootctl import -", shellWord(im.from))
	}
	return err
}

// readSpooled copies an image that can be read only once: its files come in any order.
func (im *importing) readSpooled(ctx context.Context, u *intake.Unpacker, r io.Reader, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	limit, err := im.spoolLimit()
	if err != nil {
		return err
	}
	size, err := io.Copy(f, io.LimitReader(r, limit+1))
	if err != nil {
		return err
	}
	if size > limit {
		return &intake.LimitError{What: "bytes of an image", Max: limit, Next: "give a larger --max-size, free some space, or unpack it and import the folder"}
	}
	files, err := intake.OpenArchive(f, size)
	if err != nil {
		return err
	}
	return im.readImage(ctx, u, files)
}

// spoolLimit bounds an image's files: their layers are hardly larger than what they hold, and all must not fill the disk.
func (im *importing) spoolLimit() (int64, error) {
	free, err := im.store.Free()
	if err != nil {
		return 0, err
	}
	size := min(im.options.MaxSize, math.MaxInt64/4)
	return min(size+size/8+64<<20, free-free/16), nil
}

func (im *importing) readImage(ctx context.Context, u *intake.Unpacker, files intake.Files) error {
	image, err := intake.OpenImage(ctx, files, im.arch, hostArch())
	if err != nil {
		return err
	}
	im.format, im.layers = image.Format, len(image.Layers)
	im.info.Arch = image.Arch
	im.info.Imported = &debootstrap.InfoImport{Key: oneWord(image.Notes[oci.KeyKey])}
	if image.Manifest != "" {
		im.info.Imported.Image = "sha256:" + string(image.Manifest)
	}
	im.info.Suite, im.info.Variant = oneWord(image.Notes[oci.SuiteKey]), oneWord(image.Notes[oci.VariantKey])
	return u.Image(ctx, image, func(r io.Reader) (io.ReadCloser, error) {
		plain, _, err := im.decompress(r)
		return plain, err
	})
}

// decompress finds out by its first bytes how r is compressed, and says so as a suffix does: "" is not at all.
func (im *importing) decompress(r io.Reader) (io.ReadCloser, string, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read: %w", err)
	}
	kind := intake.Compression(head)
	// Headers and padding take room, too: a bound for what has no end.
	limit := min(im.options.MaxSize, math.MaxInt64/4)/8*9 + 8<<30
	plain, err := im.pool.Decompress(in, kind, limit)
	if err != nil {
		return nil, "", fmt.Errorf("decompress: %w", err)
	}
	return plain, kind, nil
}

// open opens what is read. A named pipe is waited for until somebody writes into it or ctx ends: opening it without
// waiting does not tell, and reading would see an end.
func (im *importing) open(ctx context.Context) (err error) {
	if im.file = im.stdin; im.from == "-" {
		return nil
	}
	if im.file, err = os.OpenFile(im.from, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0); err != nil {
		return err
	}
	st, err := im.file.Stat()
	if err != nil || st.Mode()&os.ModeNamedPipe == 0 {
		return err
	}
	for {
		// Until a first writer comes nothing is reported; one that has come and gone is a hangup.
		fds := []unix.PollFd{{Fd: int32(im.file.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 100)
		if n > 0 || err != nil && err != unix.EINTR {
			return nil
		}
		if err := ctx.Err(); err != nil {
			im.file.Close()
			return err
		}
	}
}

// patient reads a file that may be a pipe in which nothing moves, until ctx ends.
type patient struct {
	ctx context.Context
	f   *os.File
}

func (p *patient) Read(b []byte) (int, error) {
	fds := []unix.PollFd{{Fd: int32(p.f.Fd()), Events: unix.POLLIN}}
	for {
		if err := p.ctx.Err(); err != nil {
			return 0, err
		}
		n, err := unix.Poll(fds, 100)
		if n > 0 || err != nil && err != unix.EINTR {
			return p.f.Read(b)
		}
	}
}
