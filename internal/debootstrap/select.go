package debootstrap

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
)

// resolved is a Lock with what is known of its origin.
type resolved struct {
	*Lock
	info   Info
	key    keyed     // K1
	parent *resolved // of the root that it extends
	base   *Result   // that root, leased while this one is made
}

// open reads the verified Release of every pocket from the first mirror that works.
func (j *job) open(ctx context.Context) (*archive.Archive, error) {
	defer j.timed(StageRelease, time.Now())
	o, err := j.archiveOptions(j.req.Pockets)
	if err != nil {
		return nil, err
	}
	ar, err := archive.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	return j.beside(ctx, ar)
}

// archiveOptions say how to read some of the suite's pockets.
func (j *job) archiveOptions(pockets []string) (o archive.Options, err error) {
	r := j.req
	files := r.Keyring
	if files == nil {
		if files, err = j.Suites.Keyring(r.Suite); err != nil {
			return o, err
		}
	}
	keyring, err := pgp.ReadKeyring(files...)
	if err != nil {
		return o, fmt.Errorf("keyrings of %s (%s): %w", r.Suite.Codename, strings.Join(r.Suite.Keyrings, ", "), err)
	}
	o = archive.Options{
		Suite: r.Suite, Keyring: keyring, Arch: r.Arch, Components: r.Components, Pockets: pockets,
		Mirrors: r.mirrorURLs("release"), PocketMirrors: make(map[string][]string), Moved: make(map[string][]string),
		Elsewhere: r.Offline && !r.OnlyThese,
		NoVerify:  r.NoVerify, AllowExpired: r.AllowExpired, AllowOlder: r.AllowOlder,
		Now: j.Now, At: r.At, Client: j.Client, Store: j.Store, Log: j.Log, OnBytes: j.received, OnPassed: j.passed,
	}
	if j.Remote != nil && !r.Offline && !r.Check {
		o.Known = j.Remote.Known
	}
	for _, p := range pockets {
		o.PocketMirrors[p] = r.mirrorURLs(p)
		if !r.OnlyThese && r.At.IsZero() {
			_, o.Moved[p] = r.ownMirrors(p)
		}
		if len(o.PocketMirrors[p]) == 0 {
			return o, &UsageError{What: fmt.Sprintf("no mirror is left for the %s pocket", p), Next: fmt.Sprintf("name one with --mirror %s=URL, or drop --only-mirror", p)}
		}
	}
	return o, nil
}

// mirrorURLs lists what to try for a pocket: the user's and the host's mirrors, then the suite's own.
// Of mirrors told in one place, those for this pocket stand in for those for none in particular. These hold
// all pockets of Ubuntu, but not Debian's security archive, which has hosts of its own.
func (r Request) mirrorURLs(pocket string) []string {
	if !r.At.IsZero() {
		if u := r.snapshotURL(pocket, r.At); u != "" {
			return []string{u}
		}
		return nil
	}
	var urls []string
	add := func(more ...string) {
		for _, u := range more {
			if !slices.Contains(urls, u) {
				urls = append(urls, u)
			}
		}
	}
	for rest := r.Mirrors; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].From == rest[0].From {
			n++
		}
		of := pocket
		if !slices.ContainsFunc(rest[:n], func(m Mirror) bool { return m.Pocket == pocket }) && r.sameArchive(pocket) {
			of = ""
		}
		for _, m := range rest[:n] {
			if m.Pocket == of {
				add(m.URL)
			}
		}
		rest = rest[n:]
	}
	if !r.OnlyThese {
		own, _ := r.ownMirrors(pocket)
		add(own...)
	}
	return urls
}

// sameArchive reports whether a pocket lies beside the release pocket on the same mirror: every
// mirror of Ubuntu carries the security pocket, too, whatever host is its official one.
func (r Request) sameArchive(pocket string) bool {
	if r.Suite.Family == "ubuntu" {
		return true
	}
	for _, p := range r.Suite.Pockets {
		if p.Name == pocket {
			return len(mirrorsFor(p.Mirrors, r.Arch)) == 0
		}
	}
	return true
}

// ownMirrors are the suite's own for a pocket, and where it lies if it is not on these: the archive
// hosts of a live suite, the live mirrors of an archived one.
func (r Request) ownMirrors(pocket string) (first, others []string) {
	p, _ := r.Suite.Pocket(pocket)
	return r.Suite.Hosts(p, r.Arch)
}

// received counts bytes as they come in.
func (j *job) received(n int64) {
	total := j.downloaded.Add(n)
	if want := j.debBytes.Load(); want > 0 {
		j.Progress(Event{Stage: StageDownload, Done: total - j.debStart.Load(), Total: want})
	}
}

// passed tells of a mirror that the user named and that is not used.
func (j *job) passed(t archive.Attempt, used string) {
	named := slices.ContainsFunc(j.req.Mirrors, func(m Mirror) bool {
		return (m.From == "--mirror" || m.From == "configuration") && withoutUser(m.URL) == t.Mirror
	})
	if _, told := j.told.LoadOrStore(t.Mirror, true); named && !told {
		j.Progress(Event{Stage: StageMirror, Item: fmt.Sprintf("%s is not used: %s; using %s", t.Mirror, t.Cause(), used)})
	}
}

// resolve gives the Lock for what the archive holds now: from the record of an equal resolution, else
// from the indices.
func (j *job) resolve(ctx context.Context, ar *archive.Archive) (*resolved, error) {
	defer j.timed(StageIndex, time.Now())
	req, key, err := j.resolveKey(ar)
	if err != nil {
		return nil, err
	}
	var c closure
	ok, err := j.Store.LoadAction(key.Key, &c)
	if err != nil {
		return nil, err
	}
	if !ok || len(c.Packages) == 0 {
		if c, err = j.selectOnce(ctx, ar, req, key); err != nil {
			return nil, err
		}
	} else {
		j.mendInputs(key)
	}
	releases := lockReleases(req.places(ar))
	l := &resolved{Lock: req.lock(c, releases), key: key}
	l.info = req.info(releases, c.Warnings)
	if req.Parent != nil {
		if l.parent, err = j.above().resolve(ctx, ar); err != nil {
			return nil, err
		}
		more, err := l.Lock.stays(l.parent.Lock, req.includesOwn(), slices.Concat(c.Warnings, l.parent.info.Warnings))
		if err != nil {
			return nil, err
		}
		l.Lock.extend(l.parent.Lock)
		l.info.Warnings = append(slices.Clip(l.info.Warnings), more...)
	}
	return l, l.Lock.Validate()
}

// resolveKey gives K1, which needs the Release files alone, and the request as it is at that archive.
func (j *job) resolveKey(ar *archive.Archive) (Request, keyed, error) {
	req := j.req
	req.Suite.Archived = ar.Archived()
	if req.KeepMirror {
		req.kept = make(map[string]string)
		for _, p := range ar.Pockets {
			req.kept[p.Name] = withoutUser(p.Mirror)
		}
	}
	inputs, err := indexInputs(req, ar)
	if err != nil {
		return req, keyed{}, err
	}
	return req, resolveKey(req, inputs), nil
}

// selectOnce selects and records what was selected. Of many processes that want the same one does so: an index takes
// a hundred megabytes of memory for a moment.
func (j *job) selectOnce(ctx context.Context, ar *archive.Archive, req Request, key keyed) (closure, error) {
	if j.Store.ReadOnly() {
		return j.selectPackages(ctx, ar, req)
	}
	sl, err := j.Store.LockStore(ctx) // the index is not collected before it was read
	if err != nil {
		return closure{}, err
	}
	defer sl.Close()
	kl, err := j.lockKey(ctx, key.Key, "reading of the index")
	if err != nil {
		return closure{}, err
	}
	defer kl.Close()
	var known closure
	if ok, err := j.Store.LoadAction(key.Key, &known); err != nil || ok && len(known.Packages) > 0 {
		return known, err
	}
	c, pulled, err := j.pullClosure(ctx, key)
	if err == nil && !pulled {
		c, err = j.selectPackages(ctx, ar, req)
	}
	if err != nil {
		return closure{}, err
	}
	if err = j.Store.StoreInputs(key.Key, key.Input); err == nil {
		err = j.Store.StoreAction(key.Key, c)
	}
	if err != nil {
		return closure{}, fmt.Errorf("record the selection: %w", err)
	}
	return c, nil
}

// indexInputs lists the digests of the uncompressed indices as the signed Release states them.
func indexInputs(r Request, ar *archive.Archive) ([]indexInput, error) {
	var out []indexInput
	for _, p := range r.places(ar) {
		if !slices.Contains(p.Release.Architectures, r.Arch) {
			return nil, &UsageError{What: fmt.Sprintf("%s at %s has no architecture %s", r.Suite.Codename, p.Mirror, r.Arch),
				Next: "it has " + strings.Join(p.Release.Architectures, ", ")}
		}
		for _, c := range p.comps {
			name := c + "/binary-" + r.Arch + "/Packages"
			f, ok := p.Release.Files[name]
			if !ok {
				return nil, &UsageError{What: fmt.Sprintf("%s at %s has no component %s for %s", r.Suite.Codename, p.Mirror, c, r.Arch),
					Next: "its components: " + strings.Join(p.Release.Components, ", ")}
			}
			out = append(out, indexInput{p.Name, c, r.Arch, f.Identity()})
		}
	}
	return out, nil
}

func (j *job) selectPackages(ctx context.Context, ar *archive.Archive, req Request) (closure, error) {
	j.Progress(Event{Stage: StageIndex, Total: 1})
	defer j.Progress(Event{Stage: StageIndex, Done: 1, Total: 1})
	var sources []resolve.Source
	for _, p := range req.places(ar) {
		for _, c := range p.comps {
			s, err := p.index(ctx, c)
			if err != nil {
				return closure{}, err
			}
			sources = append(sources, s)
		}
	}
	ix, err := resolve.NewIndex(sources)
	if err != nil {
		return closure{}, err
	}
	rules := req.Suite.Rules
	set, err := resolve.Resolve(ix, resolve.Want{Variant: req.Variant, Include: req.Include, Exclude: req.Exclude, Arch: req.Arch,
		ExtraRequired: rules.ExtraRequired, DropDepends: rules.DropDepends, ExtraBase: req.extraBase()})
	if err != nil {
		return closure{}, err
	}
	learned, err := learnSums(ctx, ar, set)
	if err != nil {
		return closure{}, err
	}
	return newClosure(set, learned)
}

// learnSums gives the SHA-256 of the packages of which the index states the SHA-512 alone.
func learnSums(ctx context.Context, ar *archive.Archive, set *resolve.Set) (map[string]cache.Digest, error) {
	var mu sync.Mutex
	learned := map[string]cache.Digest{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(connections)
	for _, p := range slices.Concat(set.Required, set.Base) {
		if p.Field("SHA256") != "" || p.Field("SHA512") == "" {
			continue
		}
		g.Go(func() error {
			size, err := strconv.ParseInt(p.Field("Size"), 10, 64)
			if err != nil {
				return fmt.Errorf("index entry of %s: bad Size %q", p.Name, p.Field("Size"))
			}
			f, err := ar.Learn(ctx, p.Pocket, archive.File{Path: p.Field("Filename"), Size: size, SHA512: p.Field("SHA512")})
			mu.Lock()
			defer mu.Unlock()
			learned[p.Name] = f.SHA256
			return err
		})
	}
	return learned, g.Wait()
}

func lockReleases(places []place) []LockRelease {
	var out []LockRelease
	for _, p := range places {
		r := p.Release
		l := LockRelease{Pocket: p.Name, Suite: p.Suite, Origin: r.Origin, Codename: r.Codename, Mirror: withoutUser(p.Mirror),
			Date: r.Date, Digest: r.Digest, Unverified: r.Unverified, Exceptions: r.Exceptions, KeysExpired: r.KeysExpired}
		for _, s := range r.Signatures {
			who := s.Fingerprint
			if s.Signer != "" {
				who = s.Signer + " " + s.Fingerprint
			}
			l.Signers = append(l.Signers, who)
		}
		out = append(out, l)
	}
	return out
}

func (r Request) info(releases []LockRelease, warnings []string) Info {
	i := Info{Suite: r.Suite.Codename, Title: r.Suite.Title, EOL: r.Suite.EOL, Variant: r.Variant, Arch: r.Arch, Components: r.Components,
		Include: r.Include, Exclude: r.Exclude, Warnings: warnings, Sources: r.sourceLines()[0].base}
	for _, l := range releases {
		i.Pockets = append(i.Pockets, InfoPocket{Name: l.Pocket, Suite: l.Suite, Date: l.Date, Mirror: l.Mirror, Signers: l.Signers})
		i.Exceptions = append(i.Exceptions, l.Exceptions...)
		i.Unverified = i.Unverified || l.Unverified
	}
	if _, why := r.archivedOptions(releases); why != "" && keysExpired(releases) {
		i.Exceptions = append(i.Exceptions, "apt inside checks no signatures, for the archive's keys have expired: see /etc/apt/sources.list")
	}
	return i
}
