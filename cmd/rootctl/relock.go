package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/lockfile"
)

// relockReport is the --json object of lock --update and --check.
type relockReport struct {
	File    string          `json:"file"`
	Current bool            `json:"current"` // nothing would be installed that differs
	Written bool            `json:"written"`
	Roots   []lockfile.Diff `json:"roots"`
}

// relockFile is readLockFile that knows a suite's name when it sees one.
func (a *app) relockFile(name string) (lockfile.File, error) {
	file, err := readLockFile(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if set, e := a.suites(); e == nil {
		if _, e := parseName(set, name); e == nil {
			return file, withHint(&flagError{fmt.Errorf("--check and --update take a lock file first, and there is none called %s: it is a suite", name)},
				"rootctl lock --check %s %s for that root alone, or rootctl lock --check", lockfile.DefaultName, name)
		}
	}
	return file, err
}

// relock is lock --update and lock --check: the named roots of a file, all if none is named, as they were asked for, resolved anew. A
// root of which nothing that is installed has changed stays in the file as it is.
func (a *app) relock(ctx context.Context, sel *selection, fl *lockFlags, name string, names []string) error {
	file, err := a.relockFile(name)
	if err != nil {
		return err
	}
	if names, err = a.lockedNames(file, name, names); err != nil {
		return err
	}
	if err := checkRelockKeyring(sel, file, names); err != nil {
		return err
	}
	report := relockReport{File: name, Current: true, Roots: []lockfile.Diff{}}
	for _, n := range names {
		was := file.Roots[n]
		now, err := a.relockRoot(ctx, *sel, n, was)
		if err != nil {
			return fmt.Errorf("lock file %s: %s: %w", name, n, err)
		}
		d, err := lockfile.Compare(n, was, now)
		if err != nil {
			return fmt.Errorf("lock file %s: %s: %w", name, n, err)
		}
		report.Roots = append(report.Roots, d)
		if !d.Current || was.Request.At != now.Request.At {
			report.Current = report.Current && d.Current
			report.Written = fl.update
			file.Roots[n] = now
		}
	}
	if report.Written {
		text, err := lockfile.Encode(file)
		if err != nil {
			return err
		}
		if err := writeLockFile(name, text); err != nil {
			return err
		}
	}
	if err := a.printRelock(report, fl.json); err != nil {
		return err
	}
	if fl.check && !report.Current {
		a.exit = codeFailed
	}
	return nil
}

func (a *app) printRelock(r relockReport, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	for _, d := range r.Roots {
		if a.quiet && d.Current {
			continue
		}
		if err := d.Text(a.stdout); err != nil {
			return err
		}
	}
	if r.Written {
		a.say("%s is written", r.File)
	}
	return nil
}

// checkRelockKeyring wants --keyring where a root was locked with keys of its own, the same ones.
func checkRelockKeyring(sel *selection, file lockfile.File, names []string) error {
	var own string
	for _, n := range names {
		if len(file.Roots[n].Request.Keyring) > 0 {
			own = n
		}
	}
	switch {
	case own == "" && sel.keyring != "":
		return withHint(&flagError{errors.New("no root of the file was locked with --keyring")}, "leave it out: the suites' own keys count")
	case own != "" && sel.keyring == "":
		return withHint(&flagError{fmt.Errorf("%s was locked with keys of its own", own)}, "give them again: --keyring FILE")
	}
	return nil
}

// relockRoot resolves what was asked for a root.
func (a *app) relockRoot(ctx context.Context, sel selection, name string, was lockfile.Root) (lockfile.Root, error) {
	q := was.Request
	if was.OfRecipe() {
		if err := sel.ofRecipe(name, was); err != nil {
			return was, err
		}
	} else {
		name = lockfile.Name(was.Suite, was.Variant, was.Arch)
		sel.pockets, sel.components, sel.include, sel.exclude, sel.keepMirror = q.Pockets, q.Components, q.Include, q.Exclude, q.KeepMirror
	}
	sel.noVerify = q.NoVerify
	sel.fresh = !sel.offline // what was read once says nothing of now
	if sel.at == "" {
		sel.at = q.At
	}
	if sel.at != "" {
		sel.mirrors, sel.onlyMirror = nil, false
	}
	if len(q.Keyring) == 0 {
		sel.keyring = ""
	}
	_, now, err := a.lock(ctx, &sel, name, func(r *debootstrap.Request) error {
		r.Epoch = nil
		if n, err := strconv.ParseInt(was.Epoch, 10, 64); err == nil {
			r.Epoch = &n
		}
		for i, k := range r.Keyring {
			if i >= len(q.Keyring) || cache.Sum(k) != q.Keyring[i] {
				return withHint(&flagError{errors.New("other keys than it was locked with")}, "give the same --keyring, or lock it anew: rootctl lock SUITE...")
			}
		}
		return nil
	})
	return now, err
}

// ofRecipe judges a root whose files, scripts or sources are a recipe's, which is asked for as the recipe has it now.
func (s *selection) ofRecipe(name string, was lockfile.Root) error {
	rec, err := s.recipe()
	if err != nil {
		return err
	}
	root, ok := rec.Find(name)
	if !ok {
		return withHint(&flagError{fmt.Errorf("it has files, scripts or sources of a recipe, and %s has no root %s", s.recipeFile(), name)},
			"call it where the recipe lies, or name that with --file")
	}
	if root.CacheSalt == "" {
		s.salt = was.CacheSalt
	}
	return nil
}
