package debootstrap

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/dpkg"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
	"github.com/rootctl/rootctl/internal/debootstrap/version"
)

const (
	// basePasswd ships the ids of Debian's fixed users and groups.
	basePasswd = "base-passwd"
	// baseFiles ships the top-level directories and /var/run, through which
	// others' paths lead.
	baseFiles = "base-files"

	maxMaster = 1 << 20 // bytes of passwd.master or group.master
)

// firstStage unpacks the packages everything starts from, as they arrive.
func (in *installer) firstStage(ctx context.Context, names []string) error {
	if p := in.pkgs[basePasswd]; p != nil && slices.Contains(names, basePasswd) {
		if err := in.open(ctx, p); err != nil {
			return err
		}
		if err := in.readMasters(p); err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	u := &unpacker{in: in}
	if slices.Contains(names, baseFiles) {
		p := in.pkgs[baseFiles]
		if err := in.open(ctx, p); err != nil {
			return err
		}
		if err := u.one(ctx, p); err != nil {
			return err
		}
	}
	return u.all(ctx, names)
}

// laterStage unpacks packages into a root whose required ones are configured.
func (in *installer) laterStage(ctx context.Context, names []string) error {
	ids, err := in.readIDs()
	if err != nil {
		return err
	}
	in.ids = ids
	u := &unpacker{in: in}
	if u.diversions, err = in.db.Diversions(); err != nil {
		return err
	}
	if u.overrides, err = in.db.Overrides(ids); err != nil {
		return err
	}
	return u.all(ctx, names)
}

// readMasters reads the fixed ids out of base-passwd's data.
func (in *installer) readMasters(p *pkg) error {
	r, err := p.deb.Data()
	if err != nil {
		return err
	}
	defer r.Close()
	ids := &unpack.IDs{}
	for tr := tar.NewReader(r); ids.Users == nil || ids.Groups == nil; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("read masters: %w", err)
		}
		to := &ids.Users
		switch {
		case strings.HasSuffix(h.Name, "/passwd.master"):
		case strings.HasSuffix(h.Name, "/group.master"):
			to = &ids.Groups
		default:
			continue
		}
		b, err := io.ReadAll(io.LimitReader(tr, maxMaster))
		if err != nil {
			return fmt.Errorf("read %s: %w", h.Name, err)
		}
		if *to, err = unpack.ParseIDs(b); err != nil {
			return fmt.Errorf("read %s: %w", h.Name, err)
		}
	}
	in.ids = ids
	return nil
}

// unpacker unpacks the packages of one stage.
type unpacker struct {
	in         *installer
	diversions func(pkg string) map[string]string
	overrides  map[string]unpack.Meta

	mu      sync.Mutex
	results []*unpack.Result
}

// all unpacks those of names that one has not, the biggest of those that have
// arrived first, and writes the database.
func (u *unpacker) all(ctx context.Context, names []string) error {
	in := u.in
	done := map[string]bool{}
	for _, r := range u.results {
		done[r.Package] = true
	}
	q := newQueue()
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, q.cancel)
	defer stop()
	for _, n := range names {
		if done[n] {
			continue
		}
		p := in.pkgs[n]
		q.expect()
		g.Go(func() error {
			if err := in.open(ctx, p); err != nil {
				return err
			}
			q.push(p)
			return nil
		})
	}
	for range in.Workers {
		g.Go(func() error {
			for {
				p := q.pop()
				if p == nil {
					return ctx.Err()
				}
				if err := u.one(ctx, p); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return u.settle(names)
}

// one unpacks one package.
func (u *unpacker) one(ctx context.Context, p *pkg) error {
	in := u.in
	r, err := p.deb.Data()
	if err != nil {
		return fmt.Errorf("package %s: %w", p.Name, err)
	}
	defer r.Close()
	up := &unpack.Package{
		Name: p.Name, Conffiles: map[string]bool{}, ConffilesNew: !p.Required,
		IDs: in.ids, Replaces: in.replaces, Overrides: u.overrides,
		Limits: unpack.Limits{Bytes: p.limit()},
	}
	for _, c := range p.db.Conffiles {
		if !c.RemoveOnUpgrade {
			up.Conffiles[c.Path] = true
		}
	}
	_, sums := p.db.Member("md5sums")
	up.HashAll = !sums
	if u.diversions != nil {
		up.Diversions = u.diversions(p.Name)
	}
	res, err := in.t.Unpack(ctx, r, up)
	if err != nil {
		return err
	}
	p.close()
	p.db.List, p.db.Sums = res.List, res.Hashes
	u.mu.Lock()
	u.results = append(u.results, res)
	u.mu.Unlock()
	in.mu.Lock()
	in.done++
	done := in.done
	in.newest = max(in.newest, res.Newest)
	in.nodes = append(in.nodes, res.Nodes...)
	in.mu.Unlock()
	in.event(StageUnpack, p.Name, done, int64(len(in.pkgs)))
	return nil
}

// limit is how many bytes a package may unpack to: what it says of itself, or
// what its size makes likely, and room to be wrong.
func (p *pkg) limit() int64 {
	kib, err := strconv.ParseInt(control.Field(p.db.Paragraph, "Installed-Size"), 10, 64)
	if err != nil || kib < 0 || kib > 1<<30 {
		kib = 0
	}
	return 256<<20 + max(2*kib<<10, 200*p.Size)
}

// settle ends a stage's unpacking.
func (u *unpacker) settle(names []string) error {
	in := u.in
	round := unpack.Round{
		Results: u.results, Required: map[string]bool{},
		LastWins: in.lock.Rules.LastRequiredDirMode, First: baseFiles,
	}
	for _, n := range names {
		round.Required[n] = in.pkgs[n].Required
	}
	in.slim()
	lost, err := in.t.Settle()
	if err != nil {
		return err
	}
	if err := in.t.ApplyDirs(round); err != nil {
		return err
	}
	return in.db.Add(in.packages(names), lost)
}

// replaces says whether package a declares that it replaces files of b.
func (in *installer) replaces(a, b string) bool {
	pa, pb := in.known(a), in.known(b)
	if pa == nil || pb == nil {
		return false
	}
	// The stanza, not the .deb: that one may not have arrived yet.
	rel, err := control.ParseRelations(control.Field(pa.Stanza, "Replaces"))
	if err != nil {
		return false
	}
	for _, r := range rel {
		for _, alt := range r {
			if alt.Name != b {
				continue
			}
			if alt.Op == "" {
				return true
			}
			if ok, err := version.Satisfies(pb.Version, alt.Op, alt.Version); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// known is one that is on its way, or in the root that is extended.
func (in *installer) known(name string) *LockPackage {
	if p := in.pkgs[name]; p != nil {
		return p.LockPackage
	}
	return in.below[name]
}

// packages are what the database is to know of names.
func (in *installer) packages(names []string) []*dpkg.Package {
	all := make([]*dpkg.Package, len(names))
	for i, n := range names {
		all[i] = in.pkgs[n].db
	}
	return all
}
