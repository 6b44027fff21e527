package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/lockfile"
	"github.com/rootctl/rootctl/suites"
)

func (s *selection) registerLock(f *pflag.FlagSet) {
	f.StringVar(&s.lockFile, "lock", "", "make exactly what this lock `file` says, from any mirror that has the bytes")
}

// nameArgs wants one name, or with --lock any number.
func (s *selection) nameArgs(c *cobra.Command, given []string) error {
	if s.lockFile != "" {
		return nil
	}
	return cobra.ExactArgs(1)(c, given)
}

// checkLocked refuses flags that say what the lock file says.
func (s *selection) checkLocked() error {
	if s.given() || s.checkUpdates {
		return withHint(&flagError{errors.New("what a root is made of stands in the lock file")}, "drop --lock, or all of the flags that select packages or keys")
	}
	if s.offline && s.fresh {
		return withHint(&flagError{errors.New("--offline and --fresh contradict each other")}, "drop one of the two")
	}
	return nil
}

// lockedRoot is a root of a lock file, ready to be built.
type lockedRoot struct {
	name string // in the file
	lock *debootstrap.Lock
	req  debootstrap.Request
}

// lockedRoots reads the lock file and picks its roots by their names, all if none are given.
func (s *selection) lockedRoots(a *app, names []string) ([]lockedRoot, error) {
	if err := s.checkLocked(); err != nil {
		return nil, err
	}
	file, err := readLockFile(s.lockFile)
	if err != nil {
		return nil, err
	}
	set, err := a.suites()
	if err != nil {
		return nil, err
	}
	if names, err = a.lockedNames(file, s.lockFile, names); err != nil {
		return nil, err
	}
	var all []lockedRoot
	for _, found := range names {
		root := file.Roots[found]
		l, err := root.Lock()
		if err != nil {
			return nil, fmt.Errorf("lock file %s: %s: %w", s.lockFile, found, err)
		}
		req, err := s.lockedRequest(a, set, root)
		if err != nil {
			return nil, fmt.Errorf("lock file %s: %s: %w", s.lockFile, found, err)
		}
		all = append(all, lockedRoot{found, l, req})
	}
	return all, nil
}

// fill takes what a recipe adds to locked roots from the recipe here, which is to have it as it was locked. Without it such a
// root is found in the cache, and not built.
func (s *selection) fill(roots []lockedRoot) error {
	for _, r := range roots {
		if len(r.lock.Hollow()) == 0 {
			continue
		}
		rec, err := s.recipe()
		if err != nil {
			return err
		}
		root, ok := rec.Find(r.name)
		if !ok {
			continue
		}
		if err := r.lock.Fill(additions(root)); err != nil {
			return fmt.Errorf("lock file %s: %s: %s: %w", s.lockFile, r.name, s.recipeFile(), err)
		}
	}
	return nil
}

// lockedNames are the names that a file has for the roots that are named in any spelling, all if none is.
func (a *app) lockedNames(file lockfile.File, path string, names []string) ([]string, error) {
	if len(names) == 0 {
		return file.Names(), nil
	}
	set, err := a.suites()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range names {
		found, ok := file.Find(name, hostArch())
		if req, err := parseName(set, name); !ok && err == nil { // another spelling: 18.04, bionic-minbase
			found, ok = file.Find(lockfile.Name(req.Suite.Codename, req.Variant, req.Arch), hostArch())
		}
		if !ok {
			return nil, withHint(&notFound{fmt.Errorf("lock file %s has no root %s", path, name)}, "it has %s", strings.Join(file.Names(), ", "))
		}
		all = append(all, found)
	}
	return all, nil
}

// fileNamed answers a name that no suite has and a file does: it may be a lock file.
func fileNamed(name string, err error) error {
	var unknown *suites.UnknownSuite
	if st, e := os.Stat(name); !errors.As(err, &unknown) || e != nil || !st.Mode().IsRegular() {
		return err
	}
	return withHint(err, "%s is a file: if it is a lock file, --lock %s", name, name)
}

// lockedRequest says where to look for a locked root's packages. A suite that no file describes has the
// mirrors of --mirror.
func (s *selection) lockedRequest(a *app, set *suites.Set, root lockfile.Root) (r debootstrap.Request, err error) {
	if r.Suite, err = set.Lookup(root.Suite); err != nil || r.Suite.Codename != root.Suite {
		r.Suite = suites.Suite{Codename: root.Suite}
	}
	if err := checkArch(root.Arch); err != nil {
		return r, err
	}
	q := root.Request
	r.Variant, r.Arch, r.Pockets, r.Components, r.Include, r.Exclude = root.Variant, root.Arch, q.Pockets, q.Components, q.Include, q.Exclude
	r.At, r.Offline, r.OnlyThese, r.Check = q.Moment(), s.offline, s.onlyMirror, s.check
	r.Added.Sources = q.Beside()
	if r.Snapshot, err = a.configuredSnapshot(r.Suite); err != nil {
		return r, err
	}
	a.caFile = s.caFile
	from := *s
	from.pockets = q.Pockets
	r.Mirrors, err = from.mirrorList(a, r)
	return r, err
}

// lockedFlags are build's own flags as they go with --lock.
type lockedFlags struct {
	tag             string
	hostUsers, json bool
	noBuild         bool // of run
	remote          *remoteFlags
}

// buildLocked builds roots of a lock file, one after the other.
func (a *app) buildLocked(ctx context.Context, sel *selection, fl lockedFlags, names []string) error {
	roots, err := sel.lockedRoots(a, names)
	if err == nil {
		err = sel.fill(roots)
	}
	if err != nil {
		return err
	}
	if fl.tag != "" && len(roots) > 1 {
		return withHint(&flagError{fmt.Errorf("one --tag for %d roots", len(roots))}, "name one root: %s", roots[0].name)
	}
	store, err := a.openStore()
	if err != nil {
		return err
	}
	var done bool
	if done, a.enterErr = a.enterToMount(); done {
		return nil
	}
	list := len(names) != 1 // whoever names one root gets one object
	reports := []any{}
	for _, r := range roots {
		b, err := a.buildOneLocked(ctx, store, r, fl)
		if err != nil && fl.json && list { // what was made before it is told, too
			f := a.tell(ctx, err)
			f.Lock, a.exit = r.name, f.Code
			reports = append(reports, f)
			break
		}
		if err != nil {
			return err
		}
		report := newBuildReport(b)
		report.Lock = r.name
		reports = append(reports, report)
		if !fl.json {
			a.closingLine(b)
			if a.quiet && (b.name == "" || fl.tag == "") {
				fmt.Fprintln(a.stdout, b.Root)
			}
		}
		b.Lease.Close()
	}
	switch {
	case fl.json && list:
		return a.printJSON(reports)
	case fl.json:
		return a.printJSON(reports[0])
	}
	return nil
}

func (a *app) buildOneLocked(ctx context.Context, store *cache.Store, r lockedRoot, fl lockedFlags) (*built, error) {
	if err := checkBuildUsers(userMode(fl.hostUsers), r.lock.Unverified()); err != nil {
		return nil, err
	}
	return a.build(ctx, store, r.req, buildOptions{tag: fl.tag, hostUsers: fl.hostUsers, noBuild: fl.noBuild, lock: r.lock, remote: fl.remote})
}

func userMode(host bool) string {
	if host {
		return "host"
	}
	return "own"
}

// lockedRootFor is rootFor with --lock.
func (a *app) lockedRootFor(ctx context.Context, store *cache.Store, sel *selection, name string, noBuild bool) (*cache.Lease, string, error) {
	roots, err := sel.lockedRoots(a, []string{name})
	if err == nil {
		err = sel.fill(roots)
	}
	if err != nil {
		return nil, "", fmt.Errorf("run %s: %w", name, err)
	}
	r := roots[0]
	b, err := a.buildOneLocked(ctx, store, r, lockedFlags{noBuild: noBuild, remote: &sel.remoteFlags})
	if err != nil {
		return nil, "", err
	}
	if !b.Cached {
		a.builtLine(b)
	}
	a.warnUnverified(name, b.Ref())
	return b.Lease, r.req.Arch, nil
}

// printMissing lists what an offline build would have had to fetch.
func (a *app) printMissing(err error) {
	var m *debootstrap.Missing
	if !errors.As(err, &m) {
		return
	}
	var total int64
	for _, i := range m.Items {
		size := ""
		if i.Size > 0 {
			size = "  " + bytesText(i.Size)
		}
		total += i.Size
		fmt.Fprintf(a.stderr, "  missing: %s%s\n", oneLine(i.Name), size)
	}
	if total > 0 && len(m.Items) > 1 {
		fmt.Fprintf(a.stderr, "  in all %s\n", bytesText(total))
	}
}
