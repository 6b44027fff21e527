package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/runner"
)

// buildOptions are what a build's caller wants beside the request.
type buildOptions struct {
	tag       string            // for the root; "": the plain name of a plain request
	lock      *debootstrap.Lock // build this, and not what the archive has now
	noBuild   bool              // fail when the root is not in the cache
	remote    *remoteFlags      // registries to pull from and push to; may be nil
	hostUsers bool              // maintainer scripts run without a user namespace
	caught    bool              // the caller catches signals
	beside    string            // others are built at the same time: lines with this name before them, no bar
}

// build runs one build with progress painted, and names the root. The result's lease is the caller's.
func (a *app) build(ctx context.Context, store *cache.Store, req debootstrap.Request, o buildOptions) (*built, error) {
	tag := o.tag
	if tag == "" && o.lock == nil {
		tag = req.Tag
	}
	if tag != "" {
		if err := a.checkTag(tag); err != nil {
			return nil, err
		}
	}
	if !o.caught {
		defer a.catchSignals()()
	}
	if req.NoVerify {
		a.warn("--no-verify: nobody checks who made this archive, and its scripts run in the build")
	}
	set, err := a.suites()
	if err != nil {
		return nil, err
	}
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	p := a.startProgressOf(o.beside)
	defer p.close()
	scripts := &executor{log: a.log(), note: a.say, inside: a.inside, owners: a.newOwners(), hostUsers: o.hostUsers, linux32: runner.Sisters(hostArch(), req.Arch), network: hookNetwork{a}}
	canBuild := func() (err error) {
		if o.noBuild {
			return withHint(&notFound{errors.New("it is not in the cache, and --no-build was given")}, "leave --no-build out")
		}
		if err = a.canBuild(); err == nil {
			scripts.chroot = a.chroot || a.enterErr != nil
			a.noteOtherCache(req.Name(hostArch()))
			scripts.format, err = a.format(req.Arch)
		}
		return err
	}
	remote, err := a.openRemote(ctx, store, o.remote, p.report)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", req.Name(hostArch()), err)
	}
	b := debootstrap.Builder{
		Store: store, Client: client, Suites: set, Exec: scripts, Guard: guardTemp,
		Now: a.now, Log: a.log(), Progress: p.report, CanBuild: canBuild,
		Owners: scripts.owners, Fit: a.fitOwners, Witness: func() debootstrap.Witness { return a.witness(scripts) },
	}
	if remote != nil && remote.from != nil {
		b.Remote = remote
	}
	try := func() (*debootstrap.Result, error) {
		if o.lock != nil {
			return b.BuildLocked(ctx, o.lock, req, o.hostUsers)
		}
		return b.Build(ctx, req)
	}
	res, err := try()
	if err != nil && a.makeRoom(ctx, store, err) {
		res, err = try()
	}
	p.close()
	if errors.Is(err, context.Canceled) && p.downloaded() {
		err = &interrupted{err, "nothing was left behind but what was downloaded, which the next build uses"}
	}
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", req.Name(hostArch()), onlyHint(req, err))
	}
	a.log().Debug("build done", "seconds", stageTimes(res.Seconds))
	if res.Unchecked != nil && !req.Offline {
		a.warn("no mirror answered; %s is used as of the archive of %s, not checked since", req.Name(hostArch()), res.Unchecked.UTC().Format("2006-01-02 15:04"))
	}
	for _, w := range res.Info.Warnings {
		if !res.Cached {
			a.warn("%s", w)
		}
	}
	name := tag
	switch {
	case name != "":
	case o.lock != nil:
		name = nameOf(store, req.Name(hostArch()), res.Root)
	case req.Plain():
		name = req.Name(hostArch())
	}
	if tag != "" || name != "" && o.lock == nil && !store.ReadOnly() {
		if err := a.setName(store, res.Ref(), name); err != nil {
			res.Lease.Close()
			return nil, fmt.Errorf("name %s: %w", name, err)
		}
	}
	if !res.Cached {
		if err := a.collectAfter(ctx, store); err != nil {
			res.Lease.Close()
			return nil, err
		}
	}
	made := &built{Result: res, name: name, remote: remote.why()}
	if err := remote.push(ctx, made); err != nil {
		res.Lease.Close()
		return nil, fmt.Errorf("build %s: %w", req.Name(hostArch()), err)
	}
	return made, nil
}

// setName gives a root a name; a read-only cache will do if the root has it.
func (a *app) setName(store *cache.Store, ref cache.Ref, name string) error {
	old, err := store.Ref(name)
	if store.ReadOnly() {
		if err == nil && old.Root == ref.Root {
			return nil
		}
		return cache.ErrReadOnly
	}
	if err == nil && old.Root != ref.Root {
		a.say("%s was %s until now", name, old.Root.Short())
	}
	ref.Name = name
	return debootstrap.SetName(store, ref, a.now())
}

// nameOf is a plain name if it stands for a root already: a lock file gives no such name.
func nameOf(store *cache.Store, plain string, root cache.Digest) string {
	if ref, err := store.Ref(plain); err != nil || ref.Root != root {
		return ""
	}
	return plain
}

// onlyHint says after a failure of the mirrors of --only-mirror that there are others.
func onlyHint(req debootstrap.Request, err error) error {
	var none *archive.NoMirror
	if !req.OnlyThese || !errors.As(err, &none) || !errors.Is(err, archive.ErrOffline) && !errors.Is(none, archive.ErrNotFound) {
		return err
	}
	return withHint(err, "drop --only-mirror to have the other mirrors asked, too; or %s", hintOf(err))
}

// canBuild says why a miss cannot be built by this user; a hit needs no rights.
func (a *app) canBuild() error {
	if os.Geteuid() == 0 && (a.enterErr == nil || runner.Refused(a.enterErr) && runner.CanChroot()) {
		return nil
	}
	if a.enterErr != nil {
		return fmt.Errorf("the root is not in the cache, and it cannot be made: %w", a.enterErr)
	}
	return withHint(errors.New("the root is not in the cache, and making it needs root rights"), "use sudo for build and run alike, for root has a cache of its own: sudo rootctl ...")
}

// lastBuilt leases the root of an earlier build of the same request.
func (a *app) lastBuilt(ctx context.Context, store *cache.Store, req debootstrap.Request) (*cache.Lease, bool) {
	ref, err := debootstrap.LastBuilt(store, req)
	if err != nil {
		return nil, false
	}
	lease, err := store.Lease(ctx, ref.Root)
	if err != nil {
		return nil, false
	}
	a.warnUnverified(req.Name(hostArch()), ref)
	return lease, true
}

// tempPaths is what goes with a temporary folder, in the order of the cache's protocol: its lock last.
func tempPaths(t *cache.Temp) []string { return []string{t.Path, t.LockFile().Name()} }

// guardTemp keeps a build's temporary folder under a keeper's eye, so that it goes when rootctl dies.
func guardTemp(t *cache.Temp) (func(), error) {
	g, err := runner.StartGuard(runner.Keep{Locks: []*os.File{t.LockFile()}, Remove: tempPaths(t)})
	if err != nil {
		return nil, err
	}
	return func() { g.Close() }, nil
}
