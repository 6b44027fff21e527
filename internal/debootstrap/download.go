package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
)

// connections is how many .debs are fetched at once.
const connections = 8

// downloads hands packages on as they arrive: fetching, decoding and unpacking are one pipeline.
type downloads struct {
	store *cache.Store
	ready map[string]chan struct{} // by package name, closed once the .deb is in the store
}

// install fetches the .debs of lock and installs them into tree at the same time.
func (j *job) install(ctx context.Context, ar packages, l *resolved, tree, log string) (*Installed, error) {
	lock := l.Lock
	d := &downloads{store: j.Store, ready: make(map[string]chan struct{}, len(lock.Packages))}
	for _, p := range lock.fresh() {
		d.ready[p.Name] = make(chan struct{})
	}
	file, err := os.OpenFile(log, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	out := &boundedLog{w: file, left: maxLog}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return j.download(ctx, ar, lock, d) })
	// Scripts leave the disk idle: what they find unpacked is written out meanwhile, which leaves little to Seal.
	flush := func() {
		g.Go(func() error { return cache.Flush(tree) })
	}
	var inst *Installed
	g.Go(func() error {
		var err error
		inst, err = Install(ctx, lock, InstallOptions{
			Tree: tree, Open: d.open, Exec: j.Exec, Owners: j.Owners, Log: out, Progress: j.stageTimer(), Unpacked: flush, Unvouched: j.fixed && !j.vouched, Base: l.base,
		})
		return err
	})
	return inst, g.Wait()
}

// open waits until a package's .deb is in the store and opens it.
func (d *downloads) open(ctx context.Context, p *LockPackage) (*os.File, error) {
	select {
	case <-d.ready[p.Name]:
		return d.store.OpenDownload(p.SHA256)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// download brings every .deb into the store: base-passwd and base-files, which unpacking starts with,
// then the biggest first.
func (j *job) download(ctx context.Context, ar packages, lock *Lock, d *downloads) error {
	start := time.Now()
	defer j.timed(StageDownload, start)
	var missing []*LockPackage
	var total int64
	if n := j.toFetch(lock); n > 0 { // said before anything is unpacked
		j.Progress(Event{Stage: StageDownload, Total: n})
	}
	fresh := lock.fresh()
	for i := range fresh {
		p := &fresh[i]
		if j.have(ctx, p) {
			close(d.ready[p.Name])
			continue
		}
		missing = append(missing, p)
		total += p.Size
	}
	if len(missing) == 0 {
		return nil
	}
	first := func(p *LockPackage) int {
		if p.Name == "base-passwd" || p.Name == "base-files" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(missing, func(a, b *LockPackage) int {
		if c := first(a) - first(b); c != 0 {
			return c
		}
		return int(min(1, max(-1, b.Size-a.Size)))
	})
	j.debStart.Store(j.downloaded.Load())
	j.debBytes.Store(total)
	j.Progress(Event{Stage: StageDownload, Total: total})
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connections)
	for _, p := range missing {
		g.Go(func() error {
			err := ar.Fetch(ctx, p.Pocket, archive.File{Path: p.Path, Size: p.Size, SHA256: p.SHA256})
			if err != nil {
				return fmt.Errorf("download %s %s: %w", p.Name, p.Version, err)
			}
			close(d.ready[p.Name])
			return nil
		})
	}
	return g.Wait()
}

// toFetch is how many bytes are not in the store, as far as the look of it goes.
func (j *job) toFetch(lock *Lock) (n int64) {
	fresh := lock.fresh()
	for i := range fresh {
		if p := &fresh[i]; !j.Store.HasDownload(p.SHA256, p.Size) {
			n += p.Size
		}
	}
	return n
}

// have reports whether a whole, undamaged copy of the .deb is in the store.
func (j *job) have(ctx context.Context, p *LockPackage) bool {
	if !j.Store.HasDownload(p.SHA256, p.Size) {
		return false
	}
	err := j.Store.VerifyDownload(ctx, p.SHA256)
	if err != nil && !errors.Is(err, cache.ErrNotFound) {
		j.Log.Debug("a cached download is damaged and is fetched again", "package", p.Name, "error", err)
	}
	return err == nil
}

// stageTimer passes Install's events on and notes how long each stage takes, from its first event to
// the last.
func (j *job) stageTimer() func(Event) {
	began := make(map[string]time.Time)
	return func(e Event) {
		j.mu.Lock()
		t, ok := began[e.Stage]
		if !ok {
			t = time.Now()
			began[e.Stage] = t
		}
		j.seconds[e.Stage] = time.Since(t).Seconds()
		j.mu.Unlock()
		j.Progress(e)
	}
}

// maxLog is how much of the scripts' output is kept: a script may write for ever.
const maxLog = 16 << 20

// boundedLog passes on the first bytes and says once that there were more.
type boundedLog struct {
	w    io.Writer
	left int
}

// Write never fails for want of room: the script goes on.
func (l *boundedLog) Write(b []byte) (int, error) {
	switch {
	case l.left < 0:
		return len(b), nil
	case len(b) > l.left:
		if _, err := fmt.Fprintf(l.w, "%s\n[the output beyond %d MB was not kept]\n", b[:l.left], maxLog>>20); err != nil {
			return 0, err
		}
		l.left = -1
		return len(b), nil
	}
	l.left -= len(b)
	return l.w.Write(b)
}
