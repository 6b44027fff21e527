package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
	"github.com/rootctl/rootctl/internal/debootstrap"
)

func newCacheSaveCommand(a *app) *cobra.Command {
	var sel selection
	var asJSON bool
	c := &cobra.Command{
		Use:   "save FILE [NAME...]",
		Short: "write roots with all that the cache knows of them into one file",
		Long: "save writes the named roots, or all that have a name, into one flat file, which cache restore takes into another cache.\n" +
			"The file belongs to whoever called, through sudo too, and has mode 0600. Its bytes depend on what is in it alone.",
		Example: "  rootctl cache save rootctl.cache bionic noble\n  rootctl cache save --lock rootctl.lock rootctl.cache\n  rootctl cache save - bionic | ssh HOST rootctl cache restore -",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			a.quiet = a.quiet || asJSON
			return a.cacheSave(c.Context(), &sel, words[0], words[1:], asJSON)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVar(&sel.lockFile, "lock", "", "the roots of this lock `file`, or those of them that are named")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return c
}

// saveReport is the --json object of cache save and bundle; its fields are an interface to scripts.
type saveReport struct {
	Output    string   `json:"output"`
	Size      int64    `json:"size"`
	Digest    string   `json:"digest"` // of the file
	Roots     []string `json:"roots"`
	Names     []string `json:"names"`
	Downloads int      `json:"downloads"`
}

// A saving is a parcel under way.
type saving struct {
	*app
	store  *cache.Store
	output string
	index  parcel.Index
	open   map[cache.Digest]func() (io.ReadCloser, error)
	leases []*cache.Lease
	layers []*os.File
}

func (a *app) newSaving(store *cache.Store, output string) *saving {
	return &saving{app: a, store: store, output: output, open: map[cache.Digest]func() (io.ReadCloser, error){},
		index: parcel.Index{CacheSchema: cache.Schema, Roots: []parcel.Root{}, Records: []parcel.Record{}, Names: []parcel.Name{}}}
}

func (s *saving) close() {
	for _, f := range s.layers {
		f.Close()
	}
	for _, l := range s.leases {
		l.Close()
	}
}

func (a *app) cacheSave(ctx context.Context, sel *selection, file string, names []string, asJSON bool) error {
	if file == "-" && asJSON {
		return withHint(&flagError{errors.New("--json and the roots both want standard output")}, "name a file")
	}
	store, err := a.existingStore()
	if err != nil {
		return err
	}
	if done, err := a.enter(); done || err != nil {
		return err
	}
	defer a.catchSignals()()
	s := a.newSaving(store, file)
	defer s.close()
	if len(names) == 0 && sel.lockFile == "" && file != "-" && s.isName(file) {
		return withHint(&flagError{fmt.Errorf("save: FILE is missing: %s is a root", printable(file))},
			"rootctl cache save FILE %s; or ./%s for all roots in a file of that name", shellWord(file), shellWord(file))
	}
	if err := s.choose(ctx, sel, names); err != nil {
		return err
	}
	rep, err := s.write(ctx)
	if err != nil {
		return fmt.Errorf("save: %w", err)
	}
	return a.reportSaved(rep, "restore", asJSON)
}

// isName says that a word is a root's name, which nobody means for a file of all roots.
func (s *saving) isName(word string) bool {
	refs, err := s.store.Refs()
	return err == nil && slices.ContainsFunc(refs, func(r cache.Ref) bool { return r.Name == word })
}

// choose takes the roots into the parcel that are named, else all that have a name.
func (s *saving) choose(ctx context.Context, sel *selection, names []string) error {
	if sel.lockFile != "" {
		roots, err := sel.lockedRoots(s.app, names)
		if err != nil {
			return err
		}
		for _, r := range roots {
			ref, err := debootstrap.RefOfKey(s.store, debootstrap.KeyOf(r.lock))
			if err == nil {
				err = s.add(ctx, ref)
			}
			if errors.Is(err, cache.ErrNotFound) {
				return withHint(&notFound{fmt.Errorf("save %s: it is not in the cache", r.name)}, "rootctl ensure --lock %s %s makes it", shellWord(sel.lockFile), r.name)
			}
			if err != nil {
				return fmt.Errorf("save %s: %w", r.name, err)
			}
		}
		return nil
	}
	if len(names) == 0 {
		refs, err := s.store.Refs()
		if err != nil {
			return err
		}
		for _, r := range refs {
			if s.store.HasRoot(r.Root) {
				names = append(names, r.Name)
			}
		}
		if len(names) == 0 {
			return withHint(&notFound{errors.New("save: no root in the cache has a name")}, "rootctl ensure NAME makes one")
		}
	}
	for _, name := range names {
		ref, err := s.cached(s.store, name)
		if err == nil {
			err = s.add(ctx, ref)
		}
		if err != nil {
			return s.noSuchRoot("save", name, err)
		}
	}
	return nil
}

// add takes a root and the name that it is asked for by.
func (s *saving) add(ctx context.Context, ref cache.Ref) error {
	if ref.Name != "" {
		s.index.Names = append(s.index.Names, parcel.Name{Name: ref.Name, Root: ref.Root, Key: ref.Key, Info: ref.Info})
	}
	if s.open[ref.Root] != nil {
		return nil
	}
	lease, err := s.store.Lease(ctx, ref.Root)
	if err != nil {
		return err
	}
	s.leases = append(s.leases, lease)
	e := &exporting{app: s.app, store: s.store, lease: lease, ref: ref, plan: exportPlan{compress: snapshot.Zstd, output: s.output}}
	if e.info, err = debootstrap.InfoOf(ref); err != nil {
		return err
	}
	e.bar = s.startMeter("packing", e.info.TarSize)
	defer e.bar.close()
	i, layer, err := e.layer(ctx)
	if err != nil {
		return err
	}
	s.layers = append(s.layers, layer)
	sum, err := cache.ParseDigest(i.Layer.Digest)
	if err != nil {
		return err
	}
	m, err := lease.Manifest()
	if err != nil {
		return err
	}
	s.index.Roots = append(s.index.Roots, parcel.Root{Digest: ref.Root, TarSize: m.TarSize, SHA256: sum, Size: i.Layer.Size})
	s.open[ref.Root] = func() (io.ReadCloser, error) { return io.NopCloser(layer), nil }
	return nil
}

// write makes the file.
func (s *saving) write(ctx context.Context) (*saveReport, error) {
	var digests []cache.Digest
	for _, r := range s.index.Roots {
		digests = append(digests, r.Digest)
	}
	s.index.Records = append(s.index.Records, debootstrap.Carry(s.store, digests)...)
	out, err := s.createPrivate(ctx, s.output)
	if err != nil {
		return nil, err
	}
	defer out.close()
	err = parcel.Write(ctx, out, &s.index, func(d cache.Digest) (io.ReadCloser, error) { return s.open[d]() })
	if out.err != nil {
		err = out.err
	}
	if err == nil {
		err = out.finish()
	}
	if err != nil {
		return nil, err
	}
	rep := &saveReport{Output: out.path, Size: out.n, Digest: out.digest(), Roots: []string{}, Names: []string{}, Downloads: len(s.index.Downloads)}
	for _, d := range digests {
		rep.Roots = append(rep.Roots, "sha256:"+string(d))
	}
	for _, n := range s.index.Names {
		rep.Names = append(rep.Names, n.Name)
	}
	return rep, nil
}

// createPrivate begins a file of mode 0600 that belongs to whoever called: behind sudo, to that user. It is opened and
// named with that user's rights wherever these suffice, so that no link in a folder of theirs leads root elsewhere.
func (a *app) createPrivate(ctx context.Context, path string) (*output, error) {
	owner := a.sudoCaller()
	out, err := a.createOutputAs(ctx, path, owner)
	if owner != nil && errors.Is(err, fs.ErrPermission) {
		out, err = a.createOutputAs(ctx, path, nil) // a folder that is not theirs to write in
	}
	if err != nil || out.flat {
		return out, err
	}
	err = out.f.Chmod(0o600)
	if err == nil && owner != nil {
		err = chownTo(out.f, owner)
	}
	if err != nil {
		out.close()
		return nil, cannotWrite(path, err)
	}
	return out, nil
}

// sudoCaller is behindSudo for files alone: who has no entry in the user database has ids all the same.
func (a *app) sudoCaller() *user.User {
	uid, err := strconv.ParseUint(a.getenv("SUDO_UID"), 10, 31)
	gid, gerr := strconv.ParseUint(a.getenv("SUDO_GID"), 10, 31)
	if os.Geteuid() != 0 || a.inside != nil || err != nil || gerr != nil || uid == 0 {
		return nil
	}
	return &user.User{Uid: strconv.FormatUint(uid, 10), Gid: strconv.FormatUint(gid, 10), Username: "user " + strconv.FormatUint(uid, 10)}
}

func chownTo(f *os.File, u *user.User) error {
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	return f.Chown(uid, gid)
}

func (a *app) reportSaved(rep *saveReport, verb string, asJSON bool) error {
	if asJSON {
		return a.printJSON(rep)
	}
	what := roots(len(rep.Roots))
	if len(rep.Names) > 0 {
		what += " (" + strings.Join(rep.Names, ", ") + ")"
	}
	if rep.Downloads > 0 {
		what += fmt.Sprintf(" and %d downloads", rep.Downloads)
	}
	if rep.Output != "-" {
		a.say("wrote %s: %s, %s", rep.Output, what, bytesText(rep.Size))
		a.say("next: rootctl cache %s %s", verb, shellWord(rep.Output))
	}
	return nil
}

func roots(n int) string {
	if n == 1 {
		return "1 root"
	}
	return fmt.Sprintf("%d roots", n)
}

// asRef is a name of a parcel as the cache has it.
func asRef(n parcel.Name) cache.Ref {
	return cache.Ref{Name: n.Name, Root: n.Root, Key: n.Key, Info: json.RawMessage(n.Info)}
}
