package debootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/suites"
)

// Stages of a build, as events and in Result.Seconds.
const (
	StageMirror    = "mirror" // a remark on one, in Item
	StageRelease   = "release"
	StageIndex     = "index"
	StageDownload  = "download"
	StageUnpack    = "unpack"
	StageConfigure = "configure"
	StageHash      = "hash"
)

// Builder makes roots. All fields but Fit, Guard, Owners, CanBuild, Witness and Progress are required.
type Builder struct {
	Store    *cache.Store
	Client   *fetch.Client
	Suites   *suites.Set
	Exec     Executor
	Now      func() time.Time
	Log      *slog.Logger
	Progress func(Event)
	// Owners, if not nil, is where a build keeps the owners that the disk cannot; Exec shares it.
	Owners *cache.Owners
	// CanBuild is asked before anything is built; a hit does not ask.
	CanBuild func() error
	// Fit makes a cached root usable for this user; one that cannot be is built anew.
	Fit func(*cache.Lease) error
	// Remote is asked for what is not in the cache, before it is made; may be nil.
	Remote Remote
	// Guard puts a temporary folder under a process that removes it should this one die.
	Guard func(*cache.Temp) (release func(), err error)
	// Witness, if not nil, says of a build what its result does not depend on. Times are filled in.
	Witness func() Witness
}

// Result is a root that is there, leased: the caller closes Lease.
type Result struct {
	Root       cache.Digest
	Key        cache.Digest
	Lease      *cache.Lease
	Cached     bool
	Info       Info
	Lock       *Lock
	Downloaded int64              // bytes that came over the network, indices included
	Seconds    map[string]float64 // by stage; download, unpack and configure overlap
	Unchecked  *time.Time         // set when no mirror was asked: the archive's date that was used
	Pulled     string             // where it came from, if it came from a Remote
	Checked    bool               // it was built twice, and came out the same
	took       time.Duration
	resolve    cache.Digest // K1
}

// Total is the whole time Build took.
func (r *Result) Total() time.Duration { return r.took }

// Ref is a nameless reference to the root.
func (r *Result) Ref() cache.Ref {
	return cache.Ref{Root: r.Root, Key: r.Key, Info: canonical(r.Info)}
}

// job is one Build under way.
type job struct {
	*Builder
	req        Request
	start      time.Time
	mu         sync.Mutex
	seconds    map[string]float64 // by stage; under mu
	downloaded atomic.Int64       // all bytes received
	told       sync.Map           // mirrors of which passed has told
	debStart   atomic.Int64       // value of downloaded when the .debs began
	debBytes   atomic.Int64       // bytes of .debs to fetch, 0 until that is known
	vouched    bool               // with fixed: the user does all the same
	fixed      bool               // by a Lock that somebody wrote down: no request led to it, and nobody vouches for it
}

// attempts bounds how often a build starts over because its mirror changed under it.
const attempts = 4

// Build returns the root of req, from the cache where its key is there. Errors: *UsageError,
// *pgp.Untrusted, archive.ErrOffline, *resolve.UnknownPackage, *ConfigureError, and those of the store.
func (b *Builder) Build(ctx context.Context, req Request) (*Result, error) {
	j, err := b.job(req)
	if err != nil {
		return nil, err
	}
	if req.Offline {
		return j.fromCache(ctx)
	}
	ar, err := j.open(ctx)
	if errors.Is(err, archive.ErrOffline) && !req.Fresh && !req.Check {
		return j.fromLast(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	var res *Result
	err = j.follow(ctx, ar, func() (err error) {
		res, err = j.fromArchive(ctx, ar)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := j.addUpdates(ctx, res); err != nil {
		res.Lease.Close()
		return nil, err
	}
	return res, nil
}

// follow does f with an open archive, again while its mirror changes under it.
func (j *job) follow(ctx context.Context, ar *archive.Archive, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		var stale *archive.Stale
		if err == nil || !errors.As(err, &stale) || n == attempts {
			return err
		}
		// A mirror in mid-update: what its Release names is gone or changed. Read it again; if it still
		// says the same, go on to the next mirror.
		j.Log.Debug("mirror changed under the build", "error", err)
		changed, e := ar.Refresh(ctx)
		if e == nil && !changed {
			e = ar.NextMirror(ctx)
		}
		if e != nil {
			return err
		}
	}
}

// Resolve returns the Lock of req for what the archive holds now, and builds nothing.
func (b *Builder) Resolve(ctx context.Context, req Request) (*Lock, error) {
	l, err := b.Lock(ctx, req)
	if err != nil {
		return nil, err
	}
	return l.Lock, nil
}

// timed adds the time since start to a stage.
func (j *job) timed(stage string, start time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seconds[stage] += time.Since(start).Seconds()
}

// fromArchive resolves against the archive and takes the root from the cache or makes it.
func (j *job) fromArchive(ctx context.Context, ar *archive.Archive) (*Result, error) {
	lock, err := j.resolve(ctx, ar)
	if err != nil {
		return nil, err
	}
	return j.fromLock(ctx, ar, lock)
}

// packages is where .debs come from.
type packages interface {
	Fetch(ctx context.Context, pocket string, f archive.File) error
}

// fromLock takes the root of a Lock from the cache or makes it.
func (j *job) fromLock(ctx context.Context, ar packages, lock *resolved) (*Result, error) {
	res, err := j.findOrMake(ctx, ar, lock)
	if err == nil && j.req.Check {
		if err = j.check(ctx, ar, lock, res); err != nil {
			res.Lease.Close()
			return nil, err
		}
		res.took = time.Since(j.start)
	}
	return res, err
}

func (j *job) findOrMake(ctx context.Context, ar packages, lock *resolved) (*Result, error) {
	key := rootKey(lock.Lock)
	if res, err := j.lookup(ctx, key, lock); res != nil || err != nil {
		return res, err
	}
	remote := j.Remote != nil && !j.req.Offline && lock.Hollow() == nil // whose root needs neither rights nor packages
	if !remote {
		if err := j.buildable(lock); err != nil {
			return nil, err
		}
	}
	if remote && lock.parent != nil { // what is pulled needs not the root that it extends
		res, err := j.pullAlone(ctx, key, lock)
		if res != nil || err != nil {
			return res, err
		}
		remote = false
		if err := j.buildable(lock); err != nil {
			return nil, err
		}
	}
	release, err := j.withBase(ctx, ar, lock) // under its own key's lock, before this one's
	if err != nil {
		return nil, err
	}
	defer release()
	if j.req.Offline {
		ar = nowhere{len(lock.Packages)}
	}
	sl, err := j.Store.LockStore(ctx) // nothing fetched from here on is collected before the record names it
	if err != nil {
		return nil, err
	}
	defer sl.Close()
	kl, err := j.lockKey(ctx, key.Key, "build")
	if err != nil {
		return nil, err
	}
	defer kl.Close()
	if res, err := j.lookup(ctx, key, lock); res != nil || err != nil { // another process may have built it
		return res, err
	}
	if remote {
		if res, err := j.pull(ctx, key, lock); res != nil || err != nil {
			return res, err
		}
		if err := j.buildable(lock); err != nil {
			return nil, err
		}
	}
	return j.make(ctx, ar, key, lock)
}

// buildable says why a miss cannot be built here.
func (j *job) buildable(lock *resolved) error {
	if err := lock.filled(); err != nil {
		return err
	}
	if j.CanBuild != nil {
		if err := j.CanBuild(); err != nil {
			return err
		}
	}
	if j.req.Offline {
		return j.missing(lock.Lock)
	}
	return nil
}

// StageWait is told once when another process is at work that this one waits for; Item says at what.
const StageWait = "wait"

// lockKey makes this process the one that does what a key stands for, and others say whom they wait for.
func (j *job) lockKey(ctx context.Context, key cache.Digest, doing string) (*cache.KeyLock, error) {
	own := j.req.Suite.Codename
	if j.req.Variant != "minbase" {
		own += "-" + j.req.Variant
	}
	kl, err := j.Store.LockKey(ctx, key, func() {
		what, same := j.Store.KeyHolder(key)
		switch {
		case same:
			what = "another " + doing + " of " + own
		case what == "":
			what = "another process"
		default:
			what = "a " + what + ", whose lock this one shares"
		}
		j.Progress(Event{Stage: StageWait, Item: what})
	})
	if err == nil {
		kl.Announce(doing + " of " + own)
	}
	return kl, err
}

// make downloads, installs, hashes and seals.
func (j *job) make(ctx context.Context, ar packages, key keyed, l *resolved) (res *Result, err error) {
	err = j.inTemp(ctx, ar, l, func(temp *cache.Temp, tree string, inst *Installed) error {
		res, err = j.seal(ctx, temp, tree, key, l, inst)
		return err
	})
	return res, err
}

// inTemp installs into a temporary folder, which is gone when use has returned.
func (j *job) inTemp(ctx context.Context, ar packages, l *resolved, use func(*cache.Temp, string, *Installed) error) error {
	if _, err := j.Store.Sweep(); err != nil { // what a power cut or a lost keeper left
		j.Log.Debug("sweep the cache", "error", err)
	}
	if err := j.Store.Room(j.room(l.Lock)); err != nil {
		return err
	}
	temp, err := j.Store.Temp()
	if err != nil {
		return err
	}
	defer temp.Remove()
	if j.Guard != nil {
		release, err := j.Guard(temp)
		if err != nil {
			return fmt.Errorf("guard the temporary folder: %w", err)
		}
		defer release()
	}
	tree := filepath.Join(temp.Path, "root")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	inst, err := j.install(ctx, ar, l, tree, filepath.Join(temp.Path, "log"))
	if err != nil {
		return j.keepLog(err, filepath.Join(temp.Path, "log"))
	}
	return use(temp, tree, inst)
}

// room is what a build takes at least: its downloads, and its packages' files as their index says, within what a .deb
// can hold. It takes little more, and what it lacks is told when it comes to that.
func (j *job) room(lock *Lock) (need int64) {
	fresh := lock.fresh()
	for i := range fresh {
		p := &fresh[i]
		if !j.Store.HasDownload(p.SHA256, p.Size) {
			need += p.Size
		}
		kib, err := strconv.ParseInt(control.Field(p.Stanza, "Installed-Size"), 10, 32)
		if err == nil && kib > 0 {
			need += min(kib<<10, 4*p.Size) * 9 / 10
		}
	}
	return need
}

func (j *job) seal(ctx context.Context, temp *cache.Temp, tree string, key keyed, l *resolved, inst *Installed) (*Result, error) {
	start := time.Now()
	j.Progress(Event{Stage: StageHash, Total: 1})
	m, root, size, err := cache.Scan(ctx, tree, cache.ScanOptions{Epoch: inst.Epoch, Extra: inst.Devices, Owners: j.Owners})
	if err != nil {
		return nil, fmt.Errorf("hash the root: %w", err)
	}
	j.timed(StageHash, start)
	start = time.Now()
	lease, err := j.Store.Seal(ctx, temp, tree, m, root)
	if err != nil {
		return nil, fmt.Errorf("seal the root: %w", err)
	}
	j.timed("seal", start)
	j.Progress(Event{Stage: StageHash, Done: 1, Total: 1})
	info := l.info
	info.Packages, info.Epoch, info.TarSize, info.Built = len(l.Packages), inst.Epoch, size, j.Now().UTC().Truncate(time.Second)
	if l.base != nil {
		info.Extends = l.base.Root
	}
	res := &Result{Root: root, Key: key.Key, Lease: lease, Info: info, Lock: l.Lock, resolve: l.key.Key, Seconds: j.seconds, Downloaded: j.downloaded.Load()}
	err = j.keepFirst(ctx, key, res)
	if err == nil {
		err = j.Store.StoreInputs(key.Key, key.Input)
	}
	if err == nil {
		err = j.remember(res, true)
	}
	if err != nil {
		res.Lease.Close()
		return nil, err
	}
	j.witness(res)
	j.mendInputs(requestKey(j.req))
	res.took = time.Since(j.start)
	return res, nil
}

// keepLog moves the scripts' output of a failed build to where the user finds it.
func (j *job) keepLog(err error, log string) error {
	var failed *ConfigureError
	if !errors.As(err, &failed) {
		return err
	}
	kept := filepath.Join(j.Store.Dir(), "logs", j.req.Suite.Codename+"-"+j.req.Variant+".log")
	e := os.MkdirAll(filepath.Dir(kept), 0o700)
	if e == nil {
		e = os.Rename(log, kept)
	}
	if e != nil {
		j.Log.Debug("keep the log of the failed build", "error", e)
		return err
	}
	failed.LogPath = kept
	return err
}
