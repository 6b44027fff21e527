package debootstrap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/resolve"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// maxParents bounds how many roots one may stand on.
const maxParents = 8

// fresh are the packages that a root has beside those of the one that it extends.
func (l *Lock) fresh() []LockPackage {
	if l.Parent == nil {
		return l.Packages
	}
	have := make(map[string]bool, len(l.Parent.Packages))
	for _, p := range l.Parent.Packages {
		have[p.Name] = true
	}
	var out []LockPackage
	for _, p := range l.Packages {
		if !have[p.Name] {
			out = append(out, p)
		}
	}
	return out
}

// extend puts l on a parent: what the parent has stays as it is, be the selection for l another.
func (l *Lock) extend(parent *Lock) {
	have := make(map[string]bool, len(parent.Packages))
	all := slices.Clone(parent.Packages)
	for _, p := range all {
		have[p.Name] = true
	}
	for _, p := range l.Packages {
		if !have[p.Name] {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b LockPackage) int { return a.Order - b.Order })
	l.Parent, l.Packages = parent, all
}

// checkParent judges the Lock that l stands on.
func (l *Lock) checkParent() error {
	p := l.Parent
	if p == nil {
		return nil
	}
	if n := p.parents(); n >= maxParents {
		return fmt.Errorf("lock: more than %d roots extend one another", maxParents)
	}
	if p.Suite != l.Suite || p.Arch != l.Arch || p.Variant != l.Variant {
		return fmt.Errorf("lock: a %s %s for %s cannot extend a %s %s for %s", l.Suite, l.Variant, l.Arch, p.Suite, p.Variant, p.Arch)
	}
	digests := make(map[string]cache.Digest, len(l.Packages))
	for _, q := range l.Packages {
		digests[q.Name] = q.SHA256
	}
	for _, q := range p.Packages {
		if digests[q.Name] != q.SHA256 {
			return fmt.Errorf("lock: package %s is not the one of the root that is extended", q.Name)
		}
	}
	return p.Validate()
}

func (l *Lock) parents() (n int) {
	for p := l.Parent; p != nil && n <= maxParents; p = p.Parent {
		n++
	}
	return n
}

// above is the job of the root that this one's extends.
func (j *job) above() *job {
	p := &job{Builder: j.Builder, start: time.Now(), seconds: make(map[string]float64), fixed: j.fixed, vouched: j.vouched}
	if j.req.Parent != nil {
		p.req = *j.req.Parent
	} else { // a Lock's: only where from counts
		p.req = j.req
		p.req.Tag, p.req.Added = "", Additions{}
	}
	p.req.Check = false
	return p
}

// withBase leases the root that l extends, made first if it is not there; release ends the lease.
func (j *job) withBase(ctx context.Context, ar packages, l *resolved) (release func(), err error) {
	if l.parent == nil {
		return func() {}, nil
	}
	p := j.above()
	res, err := p.findOrMake(ctx, ar, l.parent)
	j.downloaded.Add(p.downloaded.Load())
	if err != nil {
		return nil, fmt.Errorf("the root it extends: %w", err)
	}
	l.base = res
	return res.Lease.Close, nil
}

// pullAlone takes a root from the Remote, and gives the locks back if it has it not.
func (j *job) pullAlone(ctx context.Context, key keyed, l *resolved) (*Result, error) {
	sl, err := j.Store.LockStore(ctx)
	if err != nil {
		return nil, err
	}
	defer sl.Close()
	kl, err := j.lockKey(ctx, key.Key, "build")
	if err != nil {
		return nil, err
	}
	defer kl.Close()
	if res, err := j.lookup(ctx, key, l); res != nil || err != nil {
		return res, err
	}
	return j.pull(ctx, key, l)
}

// adopt makes the tree of the root that is extended the one to go on with.
func (in *installer) adopt(ctx context.Context) error {
	nodes, err := in.Base.Lease.CopyTo(ctx, in.Tree, in.Owners)
	if err != nil {
		return fmt.Errorf("copy the root that is extended: %w", err)
	}
	in.newest = in.Base.Info.Epoch
	for _, e := range nodes {
		in.nodes = append(in.nodes, unpack.Node{Path: "/" + e.Path, Type: e.Type, Major: e.Major, Minor: e.Minor, MTime: e.MTime,
			Meta: unpack.Meta{Mode: e.Mode, UID: int(e.UID), GID: int(e.GID)}})
	}
	bad, installed, err := in.db.Unfinished()
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		return fmt.Errorf("the root that is extended has an unfinished package: %s: %s", bad[0].Package, bad[0].Status)
	}
	in.before = installed
	diverted, err := in.db.Diversions()
	if err != nil {
		return err
	}
	lists, err := in.db.Lists()
	if err != nil {
		return err
	}
	for _, name := range sortedNames(lists) {
		if in.pkgs[name] != nil {
			return fmt.Errorf("package %s is in the root that is extended: a hook has installed it there", name)
		}
		if err := in.t.Adopt(name, lists[name], diverted(name)); err != nil {
			return fmt.Errorf("files of %s: %w", name, err)
		}
	}
	return in.db.SetAvailable(in.available())
}

func sortedNames[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// available are the index's paragraphs of all packages, in its order.
func (in *installer) available() []string {
	sorted := slices.Clone(in.lock.Packages)
	slices.SortStableFunc(sorted, func(a, b LockPackage) int { return a.Order - b.Order })
	out := make([]string, len(sorted))
	for i, p := range sorted {
		out[i] = p.Stanza
	}
	return out
}

// onlyFresh leaves of the stages what is not there yet.
func (in *installer) onlyFresh(stages [][]string) (out [][]string) {
	for _, names := range stages {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return in.pkgs[n] == nil })
		if len(names) > 0 {
			out = append(out, names)
		}
	}
	return out
}

// includesOwn are the included packages that a root does not have from the one it extends.
func (r *Request) includesOwn() []string {
	return slices.DeleteFunc(slices.Clone(r.Include), func(n string) bool { return r.Parent != nil && slices.Contains(r.Parent.Include, n) })
}

// stays judges what a selection becomes on a parent, whose packages stay as they are although the selection was made
// without knowing that: an error if packages that are added cannot be configured so, else what is to be said of those that
// were asked for and stay older. known are the selections' own warnings.
func (l *Lock) stays(parent *Lock, include, known []string) (warnings []string, err error) {
	chosen := make(map[string]LockPackage, len(l.Packages))
	for _, p := range l.Packages {
		chosen[p.Name] = p
	}
	var kept []string
	differ := false
	for _, p := range parent.Packages {
		q, both := chosen[p.Name]
		differ = differ || !both
		if !both || q.SHA256 == p.SHA256 {
			continue
		}
		kept = append(kept, fmt.Sprintf("%s %s stays, and is not replaced by %s", p.Name, p.Version, q.Version))
		if slices.Contains(include, p.Name) {
			warnings = append(warnings, fmt.Sprintf("%s %s is not taken: the root that is extended has %s, which stays", p.Name, q.Version, p.Version))
		}
	}
	if !differ && kept == nil {
		return nil, nil
	}
	all := *l
	all.extend(parent)
	var set []resolve.Package
	for _, p := range all.Packages {
		set = append(set, resolve.Package{Name: p.Name, Stanza: p.Stanza})
	}
	wrong, err := resolve.Check(set)
	if err != nil {
		return nil, err
	}
	for _, w := range wrong {
		if slices.Contains(known, w) {
			continue
		}
		what := "it does not fit the root that it extends: " + w
		if kept != nil {
			what += "; there " + strings.Join(kept[:min(3, len(kept))], ", ")
		}
		return nil, &UsageError{What: what, Next: "have the root that is extended take the newer one (its sources, include and pockets are those of both), or name a suite in the place of extends"}
	}
	return warnings, nil
}
