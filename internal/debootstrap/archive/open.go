// Package archive reads Debian and Ubuntu archives: which files a suite consists of, from a Release
// that a trusted key has signed, and the files, each of the size and digest that Release states.
package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/suites"
)

// Options say which archive to read, from where, and whom to trust.
type Options struct {
	Suite         suites.Suite
	Keyring       *pgp.Keyring // not needed with NoVerify
	Arch          string
	Components    []string            // empty: the suite's
	Pockets       []string            // empty: release
	Mirrors       []string            // base URLs for the release pocket, in the order to try; empty: the suite's
	PocketMirrors map[string][]string // for the other pockets; none: the suite's
	Moved         map[string][]string // by pocket: asked when one of the others has the suite not; without Mirrors: the suite's
	NoVerify      bool                // take a Release nobody has signed
	AllowExpired  bool                // take one past its Valid-Until or dated in the future
	AllowOlder    bool                // take one older than the last seen
	Now           func() time.Time    // nil: time.Now
	Elsewhere     bool                // Recorded: take Releases that were read from other mirrors, too
	At            time.Time           // when to judge dates and keys, for the past of an archive; zero: Now
	Client        *fetch.Client       // nil: without proxy
	Store         *cache.Store
	Log           *slog.Logger                 // nil: silent
	OnBytes       func(n int64)                // told of bytes as they come, from several goroutines
	OnPassed      func(t Attempt, used string) // told of mirrors that another one stands in for, likewise

	// Known is asked for what other machines know of a Release that this one has not seen, nil if nothing; see KnownAt.
	Known func(ctx context.Context, name cache.Digest) []byte
}

// Archive is an open one.
type Archive struct {
	Pockets []*Pocket
	Beside  []*Archive // see With
	o       Options
}

// Pocket is one suite of an archive and the mirror it is read from.
type Pocket struct {
	Name    string // "release", "updates", "security"
	Suite   string // bionic-updates
	Mirror  string // in use, without user and password
	Release *Release

	mirrors []string // as given, without a slash at the end
	moved   int      // of mirrors: the first that is asked only when one before has the suite not
	mu      sync.Mutex
	at      int          // of mirrors: the one in use
	down    map[int]bool // mirrors that failed on the way
	stale   bool         // something did not match Release
}

// Open reads the Release of every pocket, each from the first mirror that works. Errors: *NoMirror, by
// which *pgp.Untrusted, ErrNotTrusted or ErrNotFound may be reached, and ErrOffline as an *Offline.
func Open(ctx context.Context, o Options) (*Archive, error) {
	a, err := prepare(o)
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range a.Pockets {
		g.Go(func() error { return a.open(ctx, p, 0) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return a, nil
}

// prepare makes an archive whose pockets have their mirrors, and no Release yet.
func prepare(o Options) (*Archive, error) {
	a := &Archive{o: o}
	if err := a.defaults(); err != nil {
		return nil, err
	}
	for _, name := range a.o.Pockets {
		s, ok := o.Suite.Pocket(name)
		if !ok {
			return nil, fmt.Errorf("%s has no pocket %q: %w", o.Suite.Codename, name, ErrNotFound)
		}
		mirrors, moved := o.PocketMirrors[name], o.Moved[name]
		if name == "release" && len(o.Mirrors) > 0 {
			mirrors = o.Mirrors
		}
		if len(mirrors) == 0 {
			mirrors, moved = o.Suite.Hosts(s, o.Arch)
		}
		a.Pockets = append(a.Pockets, newPocket(s, mirrors, moved))
	}
	return a, nil
}

func newPocket(s suites.Pocket, mirrors, moved []string) *Pocket {
	p := &Pocket{Name: s.Name, Suite: s.Suite, down: map[int]bool{}}
	add := func(list []string) {
		for _, m := range list {
			if m = strings.TrimRight(m, "/"); !slices.Contains(p.mirrors, m) {
				p.mirrors = append(p.mirrors, m)
			}
		}
	}
	add(mirrors)
	p.moved = len(p.mirrors)
	add(moved)
	return p
}

// end is where the mirrors end that stand in for the i-th: one that the suite is on does not give way
// to hosts where it may have been moved to.
func (p *Pocket) end(i int) int {
	if i < p.moved {
		return p.moved
	}
	return len(p.mirrors)
}

func (a *Archive) defaults() error {
	o := &a.o
	switch {
	case o.Store == nil:
		return errors.New("open archive: no store")
	case o.Arch == "":
		return errors.New("open archive: no architecture")
	case o.Keyring == nil && !o.NoVerify:
		return errors.New("open archive: no keyring")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Client == nil {
		o.Client = &fetch.Client{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if len(o.Components) == 0 {
		o.Components = o.Suite.Components
	}
	if len(o.Pockets) == 0 {
		o.Pockets = []string{"release"}
	}
	return nil
}

// open takes the first mirror of p that works, from the given one on. Where the suite may have been
// moved to is asked only when a mirror answered that it has it not: one that is silent says nothing.
func (a *Archive) open(ctx context.Context, p *Pocket, from int) error {
	none := &NoMirror{Suite: p.Suite, Pocket: p.Name}
	for i := from; i < len(p.mirrors); i++ {
		if i == p.moved && i > 0 && !none.absent() {
			break
		}
		r, err := a.release(ctx, p, i, false)
		if err == nil {
			r.Exceptions = append(r.Exceptions, a.found(p, i)...)
			p.use(i, r)
			a.tell(ctx, p, none)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, fetch.ErrNotFound) {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		none.Tried = append(none.Tried, Attempt{fetch.RedactURL(p.mirrors[i]), err, a.isArchiveHost(p, i)})
	}
	if a.o.Suite.Archived { // what its own host says counts most
		slices.SortStableFunc(none.Tried, func(x, y Attempt) int { return order(y.Archive) - order(x.Archive) })
	}
	if fetch.Offline(none.Unwrap()) {
		return a.offline(p, none)
	}
	return none
}

func order(last bool) int {
	if last {
		return 1
	}
	return 0
}

// tell says why mirrors were passed over. That one lacks the suite is nothing for the log to speak of.
func (a *Archive) tell(ctx context.Context, p *Pocket, none *NoMirror) {
	for _, t := range none.Tried {
		if a.o.OnPassed != nil {
			a.o.OnPassed(t, p.Mirror)
		}
		level := slog.LevelWarn
		if errors.Is(t.Err, ErrNotFound) {
			level = slog.LevelDebug
		}
		a.o.Log.Log(ctx, level, "mirror not used", "suite", none.Suite, "mirror", t.Mirror, "error", t.Err)
	}
}

func (p *Pocket) use(i int, r *Release) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.Release, p.Mirror, p.stale = i, r, fetch.RedactURL(p.mirrors[i]), false
	delete(p.down, i)
}

// release reads, verifies and judges the Release of p from one mirror. fresh asks past caches on the way.
func (a *Archive) release(ctx context.Context, p *Pocket, i int, fresh bool) (*Release, error) {
	mirror := p.mirrors[i]
	if err := checkMirror(mirror); err != nil {
		return nil, err
	}
	if a.o.NoVerify {
		m, _, err := a.message(ctx, p, i, fetch.Validators{}, fresh)
		if err != nil {
			return nil, err
		}
		r, err := a.verify(m, false)
		if err != nil {
			return nil, err
		}
		return r, a.judge(p.Suite, r, time.Time{}, a.lenient(p, i))
	}
	old := a.load(p, mirror)
	if old == nil && !fresh {
		old = a.known(ctx, p, i)
	}
	var have fetch.Validators
	var seen time.Time
	if old != nil {
		seen = old.Date
		if old.Mirror == fetch.RedactURL(mirror) && old.message.Inline != nil && !fresh {
			have = old.Validators
		}
	}
	m, v, err := a.message(ctx, p, i, have, fresh)
	if err != nil {
		return nil, err
	}
	same := m.unchanged
	if same {
		m = old.message
	}
	r, err := a.verify(m, a.lenient(p, i))
	if err != nil && same {
		return a.release(ctx, p, i, true) // what we hold is no good any more
	}
	if err == nil {
		err = a.judge(p.Suite, r, seen, a.lenient(p, i))
	}
	if err == nil {
		err = a.save(p, mirror, m, v, r.Date, old)
	}
	return r, err
}

// Pocket returns the pocket of that name, nil if it was not asked for.
func (a *Archive) Pocket(name string) *Pocket {
	for _, p := range a.Pockets {
		if p.Name == name {
			return p
		}
	}
	return nil
}
