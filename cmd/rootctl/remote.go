package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/oci"
	"github.com/rootctl/rootctl/internal/cache/oci/registry"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

// remoteFlags say where roots come from and go to beside the cache.
type remoteFlags struct {
	from, to string
	required bool
	insecure string
}

// registerRemote adds them to a verb that may build.
func (fl *remoteFlags) registerRemote(f *pflag.FlagSet) {
	f.StringVar(&fl.from, "cache-from", "", "a registry's `repository` to pull roots from before one is built (default $ROOTCTL_CACHE_FROM)")
	f.StringVar(&fl.to, "cache-to", "", "a registry's `repository` to push the root to if it is not there (default $ROOTCTL_CACHE_TO)")
	f.BoolVar(&fl.required, "cache-required", false, "fail when a registry fails, which is a warning else")
	fl.registerInsecure(f)
}

func (fl *remoteFlags) registerInsecure(f *pflag.FlagSet) {
	f.StringVar(&fl.insecure, "insecure", "", "take plain HTTP and unverified TLS from a registry on this machine, or from these `hosts`: --insecure=HOST:PORT,... (default $ROOTCTL_INSECURE)")
	f.Lookup("insecure").NoOptDefVal = onThisMachine
}

const onThisMachine = "loopback"

// remote is the registry of --cache-from and that of --cache-to, for one build.
type remote struct {
	a        *app
	store    *cache.Store
	from, to *registry.Repository // nil: none
	required bool
	progress func(debootstrap.Event)
	failed   bool // from was warned of
}

// openRemote is nil when neither flag, environment nor configuration name a registry. It begins to connect to --cache-from.
func (a *app) openRemote(ctx context.Context, store *cache.Store, fl *remoteFlags, progress func(debootstrap.Event)) (*remote, error) {
	if fl == nil {
		return nil, nil
	}
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	r := &remote{a: a, store: store, required: fl.required, progress: progress}
	for _, w := range []struct {
		to           **registry.Repository
		flag, value  string
		env, setting string
	}{{&r.from, "--cache-from", fl.from, "ROOTCTL_CACHE_FROM", c.Cache.From}, {&r.to, "--cache-to", fl.to, "ROOTCTL_CACHE_TO", c.Cache.To}} {
		what, text := w.flag, w.value
		if text == "" {
			what, text = w.env, a.getenv(w.env)
		}
		if text == "" {
			what, text = "configuration: [cache] "+strings.TrimPrefix(w.flag, "--cache-"), w.setting
		}
		if text == "" || text == "none" {
			continue
		}
		ref, err := registry.ParseRef(text)
		if err == nil && ref.Name != "" {
			err = withHint(fmt.Errorf("%s names an image, and a cache has many", ref), "leave %q out", strings.TrimPrefix(ref.String(), ref.Host+"/"+ref.Repo))
		}
		if err == nil {
			*w.to, err = a.openRepository(ref, fl.insecure)
		}
		if err != nil {
			return nil, &flagError{fmt.Errorf("%s: %w", what, err)}
		}
	}
	if r.from == nil && r.to == nil {
		if fl.required {
			return nil, withHint(&flagError{errors.New("--cache-required without a registry")}, "add --cache-from or --cache-to")
		}
		return nil, nil
	}
	if r.from != nil {
		go func() { _ = r.from.Connect(ctx) }() // whoever asks it first is told what went wrong
	}
	return r, nil
}

// openRepository prepares the use of a registry as environment, configuration and --insecure say.
func (a *app) openRepository(ref registry.Ref, insecure string) (*registry.Repository, error) {
	o := registry.Options{Proxy: proxyFromEnvironment, Log: a.log(), Agent: "rootctl/" + version()}
	var err error
	if o.Insecure, err = a.insecure(ref.Host, insecure); err != nil {
		return nil, err
	}
	if o.TLS, err = a.tlsConfig(); err != nil {
		return nil, err
	}
	o.Login = a.dockerLogin
	return registry.Open(ref, o)
}

// insecure reports whether a registry need not show who it is, as --insecure, else the environment, else the configuration
// says. The last two are for all registries, so that "loopback" there leaves others as they are.
func (a *app) insecure(host, flag string) (bool, error) {
	what, value := "--insecure", flag
	if value == "" {
		what, value = "ROOTCTL_INSECURE", a.getenv("ROOTCTL_INSECURE")
	}
	if value == "" {
		c, err := a.config()
		if err != nil {
			return false, err
		}
		what, value = "configuration: [cache] insecure", c.Cache.Insecure
	}
	switch value {
	case "", "none", "0", "false":
		return false, nil
	case onThisMachine, "1", "true":
		here := registry.Loopback(host)
		if !here && flag != "" {
			return false, withHint(&flagError{fmt.Errorf("--insecure: %s is another machine, and anybody on the way could change what it says", host)},
				"trust its authority with --ca-file FILE; or say that you know, with --insecure=%s", host)
		}
		return here, nil
	}
	hosts := strings.Split(value, ",")
	for _, h := range hosts {
		if ref, err := registry.ParseRef(h + "/x"); err != nil || ref.Host != h {
			return false, withHint(&flagError{fmt.Errorf("%s: %q is no host", what, h)}, "HOST or HOST:PORT, with commas between them, or %s", onThisMachine)
		}
	}
	return slices.Contains(hosts, host), nil
}

// missed judges a failure of --cache-from: nil if the build goes on without.
func (r *remote) missed(err error) error {
	switch {
	case err == nil || errors.Is(err, registry.ErrNotFound):
		return nil
	case errors.Is(err, context.Canceled), r.required:
		return err
	}
	if !r.failed {
		r.failed = true
		r.a.warn("%v", err)
		if hint := hintOf(err); hint != "" {
			r.a.say("hint: %s", hint)
		}
	}
	return nil
}

// Closure is what a selection gave elsewhere.
func (r *remote) Closure(ctx context.Context, key cache.Digest) ([]byte, error) {
	if r.from == nil || r.failed {
		return nil, nil
	}
	text, err := r.closure(ctx, key)
	return text, r.missed(err)
}

// maxClosure bounds a selection: an entry of the index takes 1 kB, and no root has a tenth of these.
const maxClosure = 64 << 20

func (r *remote) closure(ctx context.Context, key cache.Digest) ([]byte, error) {
	tag := oci.ClosureTag(string(key))
	_, m, err := r.from.Manifest(ctx, tag)
	if err != nil {
		return nil, err
	}
	if err := sameKey(r.from, tag, m, key); err != nil {
		return nil, err
	}
	if len(m.Layers) != 1 || m.Layers[0].MediaType != oci.TypeClosure {
		return nil, fmt.Errorf("%s: its tag %s is no selection of packages", r.from.Ref(), tag)
	}
	return r.from.Small(ctx, m.Layers[0], maxClosure)
}

// sameKey refuses what says to be of another key than its tag.
func sameKey(repo *registry.Repository, tag string, m *oci.Manifest, key cache.Digest) error {
	if got := m.Annotations[oci.KeyKey]; got != string(key) {
		ref := repo.Ref()
		ref.Name = tag
		return withHint(fmt.Errorf("%s is of the key %.12q, and its tag says %s: it is not used", ref, got, key.Short()),
			"somebody has moved the tag: delete it in the registry, and find out who may write there")
	}
	return nil
}

// maxKnown bounds a signed Release with its header: those of today have a quarter of a megabyte.
const maxKnown = 16 << 20

// Known is a signed Release that another machine has read.
func (r *remote) Known(ctx context.Context, name cache.Digest) []byte {
	if r.from == nil || r.failed {
		return nil
	}
	_, m, err := r.from.Manifest(ctx, oci.ReleaseTag(string(name)))
	if err == nil && len(m.Layers) == 1 && m.Layers[0].MediaType == oci.TypeRelease {
		text, e := r.from.Small(ctx, m.Layers[0], maxKnown)
		if e == nil {
			return text
		}
		err = e
	}
	if err != nil {
		r.a.log().Debug("no Release from the remote cache", "error", err)
	}
	return nil
}

// pushKnown has other machines' first requests to the archive be conditional.
func (r *remote) pushKnown(ctx context.Context, b *built) error {
	for _, k := range debootstrap.KnownReleases(r.store, b.Lock) {
		err := r.to.PushArtifact(ctx, oci.ReleaseTag(string(k.Name)), oci.Referrer{ArtifactType: oci.TypeRelease, MediaType: oci.TypeRelease, Data: k.Text})
		if err != nil && !registry.Refuses(err) { // of which was warned
			return err
		}
	}
	return nil
}

// Root pulls the root of a key.
func (r *remote) Root(ctx context.Context, key cache.Digest) (*debootstrap.Pulled, error) {
	if r.from == nil || r.failed {
		return nil, nil
	}
	p, err := r.root(ctx, key)
	if err != nil {
		return nil, r.missed(err)
	}
	return p, nil
}

func (r *remote) root(ctx context.Context, key cache.Digest) (*debootstrap.Pulled, error) {
	tag := oci.RootTag(string(key))
	_, m, err := r.from.Manifest(ctx, tag)
	if err != nil {
		return nil, err
	}
	if err := sameKey(r.from, tag, m, key); err != nil {
		return nil, err
	}
	repository := r.from.Ref().String()
	p := &pulling{app: r.a, store: r.store, repo: r.from, image: m, later: r.a.verbIsRun}
	r.progress(debootstrap.Event{Stage: debootstrap.StagePull, Item: repository, Total: p.size()})
	p.progress = func(done int64) {
		r.progress(debootstrap.Event{Stage: debootstrap.StagePull, Item: repository, Done: done, Total: p.size()})
	}
	_, lease, err := p.run(ctx, func(root cache.Digest) (cache.Ref, error) { return cache.Ref{Root: root}, nil })
	if err != nil {
		return nil, err
	}
	return &debootstrap.Pulled{Lease: lease, Epoch: p.epoch(), TarSize: p.tarSize, From: repository}, nil
}

// push sends a root that was found, pulled or made to --cache-to, unless it is there.
func (r *remote) push(ctx context.Context, b *built) error {
	if r == nil || r.to == nil || b.Lock != nil && b.Lock.Unshared != "" {
		return nil
	}
	if r.from != nil && r.from.Ref() == r.to.Ref() && b.Pulled != "" {
		return nil
	}
	err := r.pushBuilt(ctx, b)
	if err == nil || r.required || errors.Is(err, context.Canceled) {
		return err
	}
	r.a.warn("%v", err)
	if hint := hintOf(err); hint != "" {
		r.a.say("hint: %s", hint)
	}
	return nil
}

func (r *remote) pushBuilt(ctx context.Context, b *built) error {
	p := &pushing{app: r.a, store: r.store, repo: r.to, lease: b.Lease, ref: b.Ref(), info: b.Info, keyed: true}
	rep, err := p.run(ctx)
	if err != nil {
		return err
	}
	if !rep.There {
		r.a.say("pushed to %s: %s", r.to.Ref(), bytesText(rep.Sent))
	}
	return r.pushKnown(ctx, b)
}

// why nothing came from --cache-from.
func (r *remote) why() string {
	switch {
	case r == nil || r.from == nil:
		return ""
	case r.failed:
		return r.from.Ref().String() + " failed"
	}
	return r.from.Ref().String() + " does not have it"
}
