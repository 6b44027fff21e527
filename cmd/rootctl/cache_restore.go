package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/cache/parcel"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/deb"
	"github.com/rootctl/rootctl/suites"
)

func newCacheRestoreCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "take the roots of a file that cache save or bundle wrote into the cache",
		Long: "restore reads a file of cache save or bundle, - for stdin, and has its roots in the cache with their names and records.\n" +
			"Every digest is verified. All of it is taken or nothing. What the cache has already stays. Whoever can write such a\n" +
			"file decides what is in the roots: restore only what your own jobs have saved.",
		Example: "  rootctl cache restore rootctl.cache\n  ssh HOST rootctl cache save - bionic | rootctl cache restore -",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			a.quiet = a.quiet || asJSON
			return a.cacheRestore(c.Context(), words[0], asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// restoreReport is the --json object of cache restore; its fields are an interface to scripts.
type restoreReport struct {
	Roots     []restoredRoot `json:"roots"`
	Names     []string       `json:"names"`
	Kept      []string       `json:"kept"` // names that stand for other roots here, and still do
	Downloads int            `json:"downloads"`
	MS        int64          `json:"ms"`
}

type restoredRoot struct {
	Digest string `json:"digest"`
	Cached bool   `json:"cached"` // it was there
}

func (a *app) cacheRestore(ctx context.Context, file string, asJSON bool) error {
	if file != "-" {
		if st, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return withHint(&notFound{fmt.Errorf("restore %s: there is no such file", file)}, "rootctl cache save FILE NAME... writes one; - is stdin")
		} else if err != nil {
			return fmt.Errorf("restore: %w", err)
		} else if st.IsDir() {
			return withHint(&flagError{fmt.Errorf("restore %s: it is a folder", file)}, "give a file that rootctl cache save has written")
		}
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	if store.ReadOnly() {
		return fmt.Errorf("restore %s: %w", file, cache.ErrReadOnly)
	}
	if done, err := a.enter(); done || err != nil {
		return err
	}
	defer a.catchSignals()()
	r := &restoring{app: a, store: store, start: time.Now(), report: restoreReport{Roots: []restoredRoot{}, Names: []string{}, Kept: []string{}}}
	err = r.run(ctx, file)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("restore %s: %w", file, err)
	}
	if err := a.collectAfter(ctx, store); err != nil {
		return err
	}
	return r.tell(asJSON)
}

// A restoring is a parcel being taken in.
type restoring struct {
	*app
	store  *cache.Store
	start  time.Time
	temp   *cache.Temp
	pool   deb.Pool
	fresh  []freshRoot
	files  []freshFile
	leases []*cache.Lease
	report restoreReport
}

// A freshRoot lies in the temporary folder until the whole parcel is known to be good.
type freshRoot struct {
	tree     string
	manifest *cache.Manifest
}

type freshFile struct {
	path string
	parcel.Download
}

func (r *restoring) run(ctx context.Context, file string) error {
	in := &importing{app: r.app, from: file}
	if err := in.open(ctx); err != nil {
		return err
	}
	if in.file != in.stdin {
		defer in.file.Close()
	}
	p, err := parcel.Read(ctx, bufio.NewReaderSize(&patient{ctx, in.file}, 256<<10))
	if err != nil {
		return err
	}
	names, err := r.judge(&p.Index)
	if err != nil {
		return err
	}
	lock, err := r.store.LockStore(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := r.store.Sweep(); err != nil {
		r.log().Debug("sweep the cache", "error", err)
	}
	if r.temp, err = r.store.Temp(); err != nil {
		return err
	}
	defer r.temp.Remove()
	release, err := guardTemp(r.temp)
	if err != nil {
		return fmt.Errorf("guard the temporary folder: %w", err)
	}
	defer release()
	defer func() {
		for _, l := range r.leases {
			l.Close()
		}
	}()
	if err := r.unpack(ctx, p); err != nil {
		return err
	}
	return r.keep(ctx, p, names)
}

// judge refuses what no rootctl has saved, and says which names are to be had.
func (r *restoring) judge(x *parcel.Index) ([]cache.Ref, error) {
	if x.CacheSchema != cache.Schema {
		return nil, &parcel.FormatError{What: fmt.Sprintf("it is from a cache of schema %d, and this rootctl knows %d", x.CacheSchema, cache.Schema),
			Next: "save it anew with this rootctl, or restore it with the one that wrote it"}
	}
	if err := debootstrap.CheckCarried(x); err != nil {
		return nil, err
	}
	set, err := r.suites()
	if err != nil {
		return nil, err
	}
	var names []cache.Ref
	for _, n := range x.Names {
		ref := asRef(n)
		if err := nameFits(set, x, &ref); err != nil {
			return nil, err
		}
		names = append(names, ref)
	}
	var need int64
	for _, root := range x.Roots {
		if !r.store.HasRoot(root.Digest) {
			need += root.TarSize
		}
	}
	for _, d := range x.Downloads {
		if !r.store.HasDownload(d.SHA256, d.Size) {
			need += d.Size
		}
	}
	return names, r.store.Room(need * 9 / 10) // trees without their tars' headers
}

// nameFits holds a name against the record of its root: a suite's plain name is for what a build gives that name. It is
// spelt as this host does, and what it says of the root is what the record says.
func nameFits(set *suites.Set, x *parcel.Index, ref *cache.Ref) error {
	bad := &parcel.DamagedError{What: fmt.Sprintf("the name %.80q", ref.Name)}
	if cache.CheckRefName(ref.Name) != nil {
		return bad
	}
	var rec struct {
		Kind string          `json:"kind"`
		Root cache.Digest    `json:"root"`
		Info json.RawMessage `json:"info"`
	}
	found := false
	for _, r := range x.Records {
		if r.Folder == "actions" && r.Name == string(ref.Key) {
			found = json.Unmarshal([]byte(r.Text), &rec) == nil && rec.Root == ref.Root && rec.Kind != "checked"
		}
	}
	ref.Info = rec.Info
	info, err := debootstrap.InfoOf(*ref)
	if !found || err != nil {
		return bad
	}
	req, err := parseName(set, ref.Name)
	if err != nil {
		return nil // a tag
	}
	req.Arch = info.Arch
	if !debootstrap.PlainRecord(info, req) {
		return bad
	}
	ref.Name = req.Name(hostArch())
	return nil
}

// unpack reads the parcel to its end. What the cache has is compared and left out.
func (r *restoring) unpack(ctx context.Context, p *parcel.Reader) error {
	var total int64
	for _, root := range p.Index.Roots {
		total += root.Size
	}
	bar := r.startMeter("restoring", total)
	defer bar.close()
	return p.Each(func(root parcel.Root, in io.Reader) error {
		if l, err := r.store.Lease(ctx, root.Digest); err == nil {
			if _, err := l.Manifest(); err == nil {
				r.leases = append(r.leases, l)
				r.report.Roots = append(r.report.Roots, restoredRoot{"sha256:" + string(root.Digest), true})
				return nil
			}
			l.Close()
		}
		return r.unpackRoot(ctx, root, io.TeeReader(in, bar))
	}, func(d parcel.Download, in io.Reader) error {
		if r.store.HasDownload(d.SHA256, d.Size) {
			return nil
		}
		path := filepath.Join(r.temp.Path, string(d.SHA256))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, in)
		if err = errors.Join(err, f.Close()); err == nil {
			r.files = append(r.files, freshFile{path, d})
		}
		return err
	})
}

// unpackRoot makes a root in the temporary folder: decompressed, written and hashed at once.
func (r *restoring) unpackRoot(ctx context.Context, root parcel.Root, in io.Reader) error {
	tree := filepath.Join(r.temp.Path, "root-"+root.Digest.Short()+fmt.Sprint(len(r.fresh)))
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	u, err := intake.New(ctx, tree, intake.Options{MaxSize: root.TarSize, DiskCannot: r.inside.single()})
	if err != nil {
		return err
	}
	defer u.Close()
	plain, err := r.pool.Decompress(in, "zst", root.TarSize)
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	defer plain.Close()
	if err := u.Layer(ctx, plain, false, true); err != nil {
		return err
	}
	m, err := u.Finish(ctx, tree)
	if err != nil {
		return err
	}
	if m.Digest != root.Digest || m.TarSize != root.TarSize {
		return &parcel.DamagedError{What: fmt.Sprintf("the root in it is %s, not %s", m.Digest.Short(), root.Digest.Short())}
	}
	r.fresh = append(r.fresh, freshRoot{tree, m})
	r.report.Roots = append(r.report.Roots, restoredRoot{"sha256:" + string(root.Digest), false})
	return nil
}

// keep takes what was unpacked into the cache: roots, then their records, then their names.
func (r *restoring) keep(ctx context.Context, p *parcel.Reader, names []cache.Ref) error {
	for _, f := range r.files {
		if err := r.store.KeepDownload(ctx, f.path, f.SHA256, f.Size); err != nil {
			return err
		}
		r.report.Downloads++
	}
	for _, f := range r.fresh {
		lease, err := r.store.SealSettled(ctx, r.temp, f.tree, f.manifest, f.manifest.Digest)
		if err != nil {
			return err
		}
		r.leases = append(r.leases, lease)
	}
	if err := r.releases(p); err != nil {
		return err
	}
	if err := debootstrap.KeepCarried(r.store, p.Index.Records); err != nil {
		return err
	}
	for _, ref := range names {
		old, err := r.store.Ref(ref.Name)
		if err == nil && old.Root != ref.Root && r.store.HasRoot(old.Root) {
			r.report.Kept = append(r.report.Kept, ref.Name)
			continue
		}
		if err := debootstrap.SetName(r.store, ref, r.now()); err != nil {
			return fmt.Errorf("name %s: %w", ref.Name, err)
		}
		r.report.Names = append(r.report.Names, ref.Name)
	}
	return nil
}

// releases takes signed indices in: without them the roots are as good.
func (r *restoring) releases(p *parcel.Reader) error {
	set, err := r.suites()
	if err != nil {
		return err
	}
	b := &debootstrap.Builder{Store: r.store, Suites: set, Now: r.now, Log: r.log()}
	refused, err := b.KeepReleases(p.Index.Records)
	for _, why := range refused {
		r.warn("not taken: %s", oneLine(why.Error()))
	}
	return err
}

func (r *restoring) tell(asJSON bool) error {
	r.report.MS = time.Since(r.start).Milliseconds()
	if asJSON {
		return r.printJSON(r.report)
	}
	cached := 0
	for _, root := range r.report.Roots {
		if root.Cached {
			cached++
		}
	}
	text := roots(len(r.report.Roots)-cached) + " restored"
	if cached > 0 {
		text += fmt.Sprintf(", %d in the cache already", cached)
	}
	if r.report.Downloads > 0 {
		text += fmt.Sprintf(", %d downloads", r.report.Downloads)
	}
	r.say("%s, %.1f s", text, float64(r.report.MS)/1000)
	for _, n := range r.report.Kept {
		r.say("note: %s is another root here, and stays so", n)
	}
	if len(r.report.Names) > 0 {
		r.say("next: %s run %s", r.typed(), r.report.Names[0])
	}
	return nil
}
