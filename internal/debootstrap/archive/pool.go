package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
)

// Pool fetches pool files that are known by their SHA-256: from any mirror that has those bytes,
// whatever else it has. It reads no Release and trusts nobody.
type Pool struct {
	Mirrors map[string][]string // by pocket: base URLs in the order to try
	Client  *fetch.Client
	Store   *cache.Store
	Log     *slog.Logger
	OnBytes func(n int64)

	mu   sync.Mutex
	down map[string]bool // mirrors that failed on the way
}

// Unavailable is a file that no mirror has.
type Unavailable struct {
	Path  string
	Tried []Attempt
}

func (e *Unavailable) Error() string {
	lines := []string{"no mirror has " + e.Path}
	if errors.Is(e, ErrNotTrusted) {
		lines[0] = "no mirror serves the bytes that are locked of " + e.Path
	}
	for _, t := range e.Tried {
		lines = append(lines, t.Mirror+": "+t.poolCause())
	}
	if len(e.Tried) == 1 {
		return strings.Join(lines, ": ")
	}
	return strings.Join(lines, "\n  ")
}

// poolCause says in a few words why a file was not had from a mirror, and leaves their names out.
func (t Attempt) poolCause() string {
	var wrong *cache.MismatchError
	var failed *fetch.Error
	switch {
	case errors.As(t.Err, &wrong):
		return wrong.Error()
	case errors.As(t.Err, &failed):
		return failed.Cause()
	}
	return t.Err.Error()
}

// Unwrap gives what was wrong at each mirror.
func (e *Unavailable) Unwrap() []error {
	var all []error
	for _, t := range e.Tried {
		all = append(all, t.Err)
	}
	return all
}

// Is makes it ErrNotTrusted if a mirror served other bytes, else ErrNotFound.
func (e *Unavailable) Is(target error) bool {
	var wrong *cache.MismatchError
	bad := slices.ContainsFunc(e.Tried, func(t Attempt) bool { return errors.As(t.Err, &wrong) })
	return bad && target == ErrNotTrusted || !bad && target == ErrNotFound
}

// Hint is the next step to take.
func (e *Unavailable) Hint() string {
	if errors.Is(e, ErrNotTrusted) {
		return "what a mirror served has another SHA-256 than the lock file states: name another --mirror; or the lock file was changed: rootctl lock --update resolves it anew"
	}
	return "name a mirror that has it with --mirror URL; rootctl lock --update takes what the archive has now"
}

// Fetch brings a pool file of the named pocket into the store, unless it is there. It may be called from
// many goroutines. The error is *Unavailable when no mirror has it.
func (l *Pool) Fetch(ctx context.Context, pocket string, f File) error {
	if err := checkPath(f.Path); err != nil {
		return err
	}
	if f.Size <= 0 || f.Size > maxPoolFile || !f.SHA256.Valid() {
		return fmt.Errorf("fetch %s: no size or sha256 is given for it", f.Path)
	}
	none := &Unavailable{Path: f.Path}
	mirrors := l.Mirrors[pocket]
	for i, m := range mirrors {
		m = strings.TrimRight(m, "/")
		shown := fetch.RedactURL(m)
		if l.isDown(m) {
			none.Tried = append(none.Tried, Attempt{Mirror: shown, Err: errors.New("it has failed before")})
			continue
		}
		err := l.fetchFrom(ctx, m, i == len(mirrors)-1, f)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if errors.Is(err, cache.ErrReadOnly) {
			return err
		}
		var full *cache.FullError
		if errors.As(err, &full) {
			return err
		}
		none.Tried = append(none.Tried, Attempt{Mirror: shown, Err: err})
		level := slog.LevelDebug
		if down := fetch.Offline(err) || fetch.Certificate(err) || errors.Is(err, fetch.ErrDenied); down && l.setDown(m) || !down && !errors.Is(err, fetch.ErrNotFound) {
			level = slog.LevelWarn
		}
		l.Log.Log(ctx, level, "mirror not used", "file", f.Path, "mirror", shown, "error", err)
	}
	return none
}

// fetchFrom asks one mirror; wrong bytes are asked for once more, past caches on the way.
func (l *Pool) fetchFrom(ctx context.Context, mirror string, last bool, f File) error {
	if err := checkMirror(mirror); err != nil {
		return err
	}
	r := fetch.Request{URL: mirror + "/" + escape(f.Path), OnBytes: l.OnBytes, Attempts: 2}
	if last {
		r.Attempts = 0
	}
	var wrong *cache.MismatchError
	for {
		err := l.Store.Ensure(ctx, f.SHA256, f.Size, func(ctx context.Context, part *cache.Part) error {
			return l.Client.Write(ctx, r, f.Size, part)
		})
		if !errors.As(err, &wrong) || r.Fresh {
			return err
		}
		r.Fresh = true
	}
}

func (l *Pool) isDown(mirror string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down[mirror]
}

// setDown says whether this is news.
func (l *Pool) setDown(mirror string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.down[mirror]
	if l.down == nil {
		l.down = map[string]bool{}
	}
	l.down[mirror] = true
	return !was
}
