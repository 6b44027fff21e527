package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
)

// maxPoolFile bounds what an index may ask us to download.
const maxPoolFile = 8 << 30

// Fetch brings a pool file of the named pocket into the store, unless it is there. It may be called
// from many goroutines. A *Stale error means that the mirror does not have the file as the index says.
func (a *Archive) Fetch(ctx context.Context, pocket string, f File) error {
	p := a.Pocket(pocket)
	if p == nil {
		b, err := a.having(pocket, f.Path)
		if err != nil {
			return err
		}
		return b.Fetch(ctx, pocket, f)
	}
	if err := checkPath(f.Path); err != nil {
		return err
	}
	if f.Size <= 0 || f.Size > maxPoolFile || !f.SHA256.Valid() {
		return fmt.Errorf("fetch %s: the index gives no size or sha256 for it", f.Path)
	}
	return a.ensure(ctx, p, []string{f.Path}, f)
}

// ensure brings a file into the store from the first of its paths that exists. Wrong content is asked
// for once more: it may have been put together from answers that did not fit.
func (a *Archive) ensure(ctx context.Context, p *Pocket, paths []string, f File) error {
	var wrong *cache.MismatchError
	for again := true; ; again = false {
		var mirror string
		err := a.o.Store.Ensure(ctx, f.SHA256, f.Size, func(ctx context.Context, part *cache.Part) (err error) {
			mirror, err = a.fill(ctx, p, paths, f, part)
			return err
		})
		switch {
		case !errors.As(err, &wrong):
			return err
		case !again:
			return p.mismatch(mirror, f.Path, err)
		}
	}
}

// fill gets the file from the mirror in use; if that fails on the way, from the next: the digest says
// whether it is the same file there. mirror is the last one asked.
func (a *Archive) fill(ctx context.Context, p *Pocket, paths []string, f File, part fetch.Sink) (mirror string, err error) {
	var failed, missing error
	first := p.current()
	for i := first; i < p.end(first); i++ {
		if p.isDown(i) {
			continue
		}
		mirror = fetch.RedactURL(p.mirrors[i])
		err := a.fillFrom(ctx, p, i, paths, f, part)
		switch {
		case err == nil || ctx.Err() != nil:
			return mirror, err
		case errors.Is(err, fetch.ErrNotFound) || errors.Is(err, fetch.ErrSize):
			missing = p.mismatch(mirror, f.Path, err)
			if i == first {
				return mirror, missing
			}
		case fetch.Offline(err) || fetch.Certificate(err) || errors.Is(err, fetch.ErrDenied):
			failed = err
			if p.setDown(i) {
				a.o.Log.Warn("mirror fails, going on without it", "mirror", mirror, "error", err)
			}
		default:
			return mirror, err
		}
	}
	if missing != nil {
		return mirror, missing
	}
	if failed == nil {
		failed = errors.New("every mirror has failed before")
	}
	return mirror, fmt.Errorf("get %s of %s: %w: %w", f.Path, p.Suite, ErrOffline, failed)
}

func (a *Archive) fillFrom(ctx context.Context, p *Pocket, i int, paths []string, f File, part fetch.Sink) (err error) {
	for _, path := range paths {
		err = a.o.Client.Write(ctx, a.request(p, i, path), f.Size, part)
		if !errors.Is(err, fetch.ErrNotFound) {
			return err
		}
	}
	return err
}

func (p *Pocket) mismatch(mirror, path string, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stale = true
	return &Stale{Pocket: p.Name, Mirror: mirror, Path: path, Err: err}
}

func (p *Pocket) current() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

func (p *Pocket) isDown(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.down[i]
}

// setDown says whether this is news.
func (p *Pocket) setDown(i int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.down[i]
	p.down[i] = true
	return !was
}

// byHash is the path of an index under its digest.
func byHash(f File) string {
	dir := f.Path[:strings.LastIndexByte(f.Path, '/')+1]
	if f.SHA512 != "" {
		return dir + "by-hash/SHA512/" + f.SHA512
	}
	return dir + "by-hash/SHA256/" + string(f.SHA256)
}
