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
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/deb"
)

// importing is one import under way.
type importing struct {
	*app
	store   *cache.Store
	from    string
	arch    string // asked for, "" if none
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
	lock, err := im.store.LockStore(ctx)
	if err != nil {
		return cache.Ref{}, nil, err
	}
	defer lock.Close()
	if _, err := im.store.Sweep(); err != nil {
		im.log().Debug("sweep the cache", "error", err)
	}
	temp, err := im.store.Temp()
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
	m, err := im.unpack(ctx, tree)
	if err != nil {
		return cache.Ref{}, nil, err
	}
	if err := im.describe(tree, m); err != nil {
		return cache.Ref{}, nil, err
	}
	if l, err := im.store.Lease(ctx, m.Digest); err == nil {
		im.cached = true
		l.Close()
	}
	lease, err := im.store.Seal(ctx, temp, tree, m, m.Digest)
	if err != nil {
		return cache.Ref{}, nil, err
	}
	ref, err := debootstrap.RememberImport(im.store, m.Digest, im.info)
	if err != nil {
		lease.Close()
		return cache.Ref{}, nil, err
	}
	return ref, lease, nil
}

// unpack fills tree and returns its manifest.
func (im *importing) unpack(ctx context.Context, tree string) (*cache.Manifest, error) {
	u, err := intake.New(ctx, tree, im.options)
	if err != nil {
		return nil, err
	}
	defer u.Close()
	if err := im.read(ctx, u); err != nil {
		return nil, err
	}
	m, err := u.Finish(ctx, tree)
	if err != nil {
		return nil, err
	}
	im.entries, im.dropped = len(m.Entries), u.Dropped()
	return m, nil
}

func (im *importing) read(ctx context.Context, u *intake.Unpacker) error {
	f := im.stdin
	if im.from != "-" {
		var err error
		if f, err = os.Open(im.from); err != nil {
			return err
		}
		defer f.Close()
	}
	plain, format, err := im.decompress(&patient{ctx, f})
	if err != nil {
		return err
	}
	defer plain.Close()
	im.format, im.layers = format, 1
	return u.Layer(ctx, plain, false, false)
}

// decompress finds out by its first bytes how r is compressed, and says so as a suffix does.
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
	if kind == "" {
		return plain, "tar", nil
	}
	return plain, "tar." + kind, nil
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
