// Package archive reads Debian and Ubuntu archives: which files a suite consists of, from a Release
// that a trusted key has signed, and the files, each of the size and digest that Release states.
package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
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
	NoVerify      bool                // take a Release nobody has signed
	AllowExpired  bool                // take one past its Valid-Until or dated in the future
	AllowOlder    bool                // take one older than the last seen
	Now           func() time.Time    // nil: time.Now
	Client        *fetch.Client       // nil: without proxy
	Store         *cache.Store
	Log           *slog.Logger  // nil: silent
	OnBytes       func(n int64) // told of bytes as they come, from several goroutines
}

// Archive is an open one.
type Archive struct {
	Pockets []*Pocket
	o       Options
}

// Pocket is one suite of an archive and the mirror it is read from.
type Pocket struct {
	Name    string // "release", "updates", "security"
	Suite   string // bionic-updates
	Mirror  string // in use, without user and password
	Release *Release

	mirrors []string // as given
	mu      sync.Mutex
	at      int          // of mirrors: the one in use
	down    map[int]bool // mirrors that failed on the way
	stale   bool         // something did not match Release
}

// Open reads the Release of every pocket, each from the first mirror that works. Errors: *NoMirror, by
// which *pgp.Untrusted, ErrNotTrusted or ErrNotFound may be reached, and ErrOffline as an *Offline.
func Open(ctx context.Context, o Options) (*Archive, error) {
	a := &Archive{o: o}
	if err := a.defaults(); err != nil {
		return nil, err
	}
	for _, name := range a.o.Pockets {
		s, ok := o.Suite.Pocket(name)
		if !ok {
			return nil, fmt.Errorf("%s has no pocket %q: %w", o.Suite.Codename, name, ErrNotFound)
		}
		mirrors := o.PocketMirrors[name]
		if name == "release" && len(o.Mirrors) > 0 {
			mirrors = o.Mirrors
		}
		if len(mirrors) == 0 {
			mirrors = s.MirrorsFor(o.Arch)
		}
		a.Pockets = append(a.Pockets, &Pocket{Name: name, Suite: s.Suite, mirrors: mirrors, down: map[int]bool{}})
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

// open takes the first mirror of p that works, from the given one on.
func (a *Archive) open(ctx context.Context, p *Pocket, from int) error {
	none := &NoMirror{Suite: p.Suite}
	for i := from; i < len(p.mirrors); i++ {
		r, err := a.release(ctx, p, i, false)
		if err == nil {
			p.use(i, r)
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, fetch.ErrNotFound) {
			err = fmt.Errorf("no such suite: %w (%w)", err, ErrNotFound)
		}
		level := slog.LevelDebug
		if gravity(err) >= untrusted {
			level = slog.LevelWarn
		}
		a.o.Log.Log(ctx, level, "mirror not used", "suite", p.Suite, "mirror", fetch.RedactURL(p.mirrors[i]), "error", err)
		none.Tried = append(none.Tried, Attempt{fetch.RedactURL(p.mirrors[i]), err})
	}
	if fetch.Offline(none.Unwrap()) {
		return a.offline(p, none)
	}
	return none
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
		r, err := a.verify(m)
		if err != nil {
			return nil, err
		}
		return r, a.judge(p.Suite, r, time.Time{})
	}
	old := a.load(p, mirror)
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
	r, err := a.verify(m)
	if err != nil && same {
		return a.release(ctx, p, i, true) // what we hold is no good any more
	}
	if err == nil {
		err = a.judge(p.Suite, r, seen)
	}
	if err == nil {
		err = a.save(p, mirror, m, v, r.Date, old)
	}
	return r, err
}

// message fetches InRelease, or where there is none Release and Release.gpg. It is marked unchanged if
// what have stands for is still so.
func (a *Archive) message(ctx context.Context, p *Pocket, i int, have fetch.Validators, fresh bool) (m message, v fetch.Validators, err error) {
	get := func(name string, have fetch.Validators) (fetch.Document, error) {
		r := a.request(p, i, "dists/"+p.Suite+"/"+name)
		if r.Fresh = fresh; i < len(p.mirrors)-1 {
			r.Attempts = 1
		}
		return a.o.Client.Read(ctx, r, maxRelease, have)
	}
	doc, err := get("InRelease", have)
	if err == nil {
		return message{Inline: append([]byte{}, doc.Body...), unchanged: doc.NotModified}, doc.Validators, nil
	}
	if !errors.Is(err, fetch.ErrNotFound) {
		return m, v, err
	}
	if doc, err = get("Release", fetch.Validators{}); err != nil {
		return m, v, err
	}
	m.Text = doc.Body
	if !a.o.NoVerify {
		if doc, err = get("Release.gpg", fetch.Validators{}); errors.Is(err, fetch.ErrNotFound) {
			err = &pgp.Untrusted{Reasons: []string{"Release is not signed"}}
		}
		m.Sig = doc.Body
	}
	return m, v, err
}

// request is for a path below a mirror. While others are left, a mirror that fails is not asked often.
func (a *Archive) request(p *Pocket, i int, path string) fetch.Request {
	r := fetch.Request{URL: strings.TrimRight(p.mirrors[i], "/") + "/" + escape(path), OnBytes: a.o.OnBytes, Attempts: 2}
	if i == len(p.mirrors)-1 {
		r.Attempts = cmp.Or(a.o.Client.Attempts, 3)
	}
	return r
}

// escape percent-encodes all but unreserved characters and slashes: some servers take a + for a blank.
func escape(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func checkMirror(m string) error {
	u, err := url.Parse(m)
	switch {
	case err != nil:
		return errors.New("the mirror's URL cannot be parsed")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file":
		return errors.New("a mirror is a http, https or file URL")
	case u.RawQuery != "" || u.Fragment != "" || u.Scheme != "file" && u.Host == "":
		return errors.New("a mirror's URL is scheme, host and path")
	}
	return nil
}

// Refresh reads the Release of every pocket again from the mirror in use, or if that does not answer
// from the next, and reports whether a Release or a mirror has changed. Nothing else may use the
// archive meanwhile.
func (a *Archive) Refresh(ctx context.Context) (changed bool, err error) {
	for _, p := range a.Pockets {
		r, err := a.release(ctx, p, p.at, true)
		switch {
		case fetch.Offline(err):
			if err := a.open(ctx, p, p.at+1); err != nil {
				return changed, err
			}
			changed = true
		case err != nil:
			return changed, fmt.Errorf("read Release of %s again: %w", p.Suite, err)
		case r.Digest != p.Release.Digest:
			changed = true
			p.use(p.at, r)
		}
	}
	return changed, nil
}

// NextMirror lets the pockets of which something did not match its Release, or all if there is none
// such, go on to their next mirror that works. Nothing else may use the archive meanwhile.
func (a *Archive) NextMirror(ctx context.Context) error {
	some := false
	for _, p := range a.Pockets {
		some = some || p.stale
	}
	for _, p := range a.Pockets {
		if some && !p.stale {
			continue
		}
		if err := a.open(ctx, p, p.at+1); err != nil {
			return err
		}
	}
	return nil
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
