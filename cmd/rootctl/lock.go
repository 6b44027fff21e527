package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/lockfile"
)

// lockFlags are those of lock beside the selecting ones.
type lockFlags struct {
	output        string
	update, check bool
	add           bool
	json          bool
}

func newLockCommand(a *app) *cobra.Command {
	var sel selection
	var fl lockFlags
	c := &cobra.Command{
		Use:   "lock [flags] SUITE[-VARIANT][:ARCH]... | --update [FILE [NAME...]] | --check [FILE [NAME...]]",
		Short: "write down what a root is made of, so that others build the same",
		Long: "lock asks the archive what the roots would be made of now and writes it into a lock file: packages with\n" +
			"version, path, size and SHA-256. rootctl build --lock FILE makes these roots from any mirror that has the bytes.\n" +
			"The file then has the roots that were named, and with --add those that it had before, too.",
		Example: "  rootctl lock bionic trixie-buildd          # writes rootctl.lock\n  rootctl build --lock rootctl.lock bionic\n" +
			"  rootctl lock --check                       # exit code 1 if the archive has moved on\n  rootctl lock --update",
		RunE: func(c *cobra.Command, given []string) error {
			a.quiet = a.quiet || fl.json
			if err := fl.judge(c, &sel, given); err != nil {
				return err
			}
			if fl.update || fl.check {
				file, names := lockfile.DefaultName, []string(nil)
				if len(given) > 0 {
					file, names = given[0], given[1:]
				}
				return a.relock(c.Context(), &sel, &fl, file, names)
			}
			return a.lockNew(c.Context(), &sel, &fl, given)
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.StringVarP(&fl.output, "output", "o", lockfile.DefaultName, "write this `file`; - is stdout")
	f.BoolVar(&fl.update, "update", false, "resolve the roots of FILE anew as they were asked for, and show what changes")
	f.BoolVar(&fl.check, "check", false, "as --update, but write nothing: exit code 1 if something would change")
	f.BoolVar(&fl.add, "add", false, "keep the roots that the file has and that are not named")
	sel.register(f)
	f.BoolVar(&fl.json, "json", false, "print JSON")
	return c
}

// judge refuses what cannot be meant together.
func (fl *lockFlags) judge(c *cobra.Command, sel *selection, given []string) error {
	usage := func(format string, args ...any) error {
		return withHint(&flagError{fmt.Errorf(format, args...)}, "usage: %s", c.UseLine())
	}
	again := fl.update || fl.check
	switch {
	case fl.update && fl.check:
		return usage("--update and --check contradict each other")
	case !again && len(given) == 0:
		return usage("no suite is named")
	case fl.check && c.Flags().Changed("output"):
		return usage("--check writes nothing, so -o has no meaning")
	case fl.update && c.Flags().Changed("output"):
		return usage("--update writes the file that it reads")
	case again && fl.add:
		return usage("--add goes with SUITE..., not with --update or --check")
	case fl.add && fl.output == "-":
		return usage("--add wants a file: stdout has no roots to keep")
	case again && (sel.variant != "" || sel.arch != "" || len(sel.pockets)+len(sel.components)+len(sel.include)+len(sel.exclude) > 0 || sel.keepMirror || sel.noVerify):
		return withHint(&flagError{errors.New("what is asked for stands in the lock file")}, "for other roots write a new one: rootctl lock [flags] SUITE...")
	case !again && fl.json && fl.output == "-":
		return usage("--json and -o - both want stdout")
	}
	if again {
		return nil
	}
	return checkLockOutput(fl.output)
}

// checkLockOutput refuses before anything is resolved what could not be written in the end.
func checkLockOutput(name string) error {
	if name == "-" {
		return nil
	}
	if st, err := os.Stat(name); err == nil && st.IsDir() {
		return withHint(&flagError{fmt.Errorf("write lock file: %s is a folder", name)}, "name a file in it: -o %s", filepath.Join(name, lockfile.DefaultName))
	}
	if dir := filepath.Dir(name); dir != "." {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return withHint(&flagError{fmt.Errorf("write lock file %s: there is no folder %s", name, dir)}, "make it first: mkdir -p %s", dir)
		}
	}
	return nil
}

// lockReport is lock's --json object.
type lockReport struct {
	File    string     `json:"file"`
	Roots   []lockRoot `json:"roots"`
	Kept    []string   `json:"kept,omitempty"`    // by --add: roots that were in the file and were not named
	Dropped []string   `json:"dropped,omitempty"` // without it
}

type lockRoot struct {
	Name       string       `json:"name"`
	Key        cache.Digest `json:"key"`
	Packages   int          `json:"packages"`
	Size       int64        `json:"download_size"` // bytes of the .debs
	Unverified bool         `json:"unverified"`
}

// lockNew resolves suites and writes a file.
func (a *app) lockNew(ctx context.Context, sel *selection, fl *lockFlags, suites []string) error {
	old, err := fl.before()
	if err != nil {
		return err
	}
	file := lockfile.File{Roots: map[string]lockfile.Root{}}
	report := lockReport{File: fl.output, Roots: []lockRoot{}}
	for _, name := range suites {
		l, root, err := a.lock(ctx, sel, name, nil)
		if err != nil {
			return fmt.Errorf("lock %s: %w", name, err)
		}
		key := cmp.Or(l.Request.Tag, lockfile.Name(root.Suite, root.Variant, root.Arch)) // a recipe's root has its own name
		if _, twice := file.Roots[key]; twice {
			return withHint(&flagError{fmt.Errorf("lock %s: %s is named twice", name, key)}, "name each root once")
		}
		file.Roots[key] = root
		r := lockRoot{Name: key, Key: debootstrap.KeyOf(l.Lock), Packages: len(l.Lock.Packages), Unverified: l.Lock.Unverified()}
		for _, p := range l.Lock.Packages {
			r.Size += p.Size
		}
		report.Roots = append(report.Roots, r)
		a.say("%s: %d packages, %s", key, r.Packages, bytesText(r.Size))
		if r.Unverified {
			a.warn("UNVERIFIED: nobody's signature stands behind the archive of %s", key)
		}
	}
	fl.others(old, file, &report)
	text, err := lockfile.Encode(file)
	if err != nil {
		return err
	}
	if fl.output == "-" {
		_, err := a.stdout.Write(text)
		return err
	}
	if err := writeLockFile(fl.output, text); err != nil {
		return err
	}
	if fl.json {
		return a.printJSON(report)
	}
	for _, n := range report.Dropped {
		a.say("note: %s is no longer in %s: --add keeps what is not named", n, fl.output)
	}
	a.say("%s is written; next: rootctl build --lock %s", fl.output, fl.output)
	return nil
}

// before is what the file to be written holds now; --add wants it to make sense, else whatever it was is replaced.
func (fl *lockFlags) before() (lockfile.File, error) {
	if fl.output == "-" {
		return lockfile.File{}, nil
	}
	if st, err := os.Stat(fl.output); err != nil || !st.Mode().IsRegular() {
		return lockfile.File{}, nil
	}
	old, err := readLockFile(fl.output)
	if fl.add {
		return old, err
	}
	if err != nil {
		return lockfile.File{}, nil
	}
	return old, nil
}

// others keeps or drops the roots that the file had and that are not named.
func (fl *lockFlags) others(old, file lockfile.File, report *lockReport) {
	for _, n := range old.Names() {
		if _, named := file.Roots[n]; named {
			continue
		}
		if !fl.add {
			report.Dropped = append(report.Dropped, n)
			continue
		}
		file.Roots[n] = old.Roots[n]
		report.Kept = append(report.Kept, n)
	}
}

// lock resolves what a name and flags ask for; change, if not nil, has the last word on the request.
func (a *app) lock(ctx context.Context, sel *selection, name string, change func(*debootstrap.Request) error) (l *debootstrap.Locked, root lockfile.Root, err error) {
	err = a.asked(ctx, sel, name, func(ctx context.Context, b *debootstrap.Builder, req debootstrap.Request) (err error) {
		if req.NoVerify {
			a.warn("--no-verify: nobody checks who made this archive")
		}
		if change != nil {
			if err := change(&req); err != nil {
				return err
			}
		}
		l, err = b.Lock(ctx, req)
		return err
	})
	if err != nil {
		return nil, root, err
	}
	if l.Unchecked != nil && !sel.offline {
		a.warn("no mirror answered; %s is as of the archive of %s, not checked since", l.Request.Name(hostArch()), l.Unchecked.UTC().Format("2006-01-02 15:04"))
	}
	for _, w := range l.Warnings {
		a.warn("%s", w)
	}
	for _, e := range l.Excused {
		a.say("note: %s", e)
	}
	root, err = lockfile.FromLock(l.Lock, l.Request)
	return l, root, err
}

// readLockFile reads and judges a lock file.
func readLockFile(name string) (lockfile.File, error) {
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return lockfile.File{}, withHint(&flagError{fmt.Errorf("read lock file: %w", err)}, "rootctl lock SUITE... -o %s writes one", name)
	}
	if st, e := os.Stat(name); e == nil && st.IsDir() {
		return lockfile.File{}, withHint(&flagError{fmt.Errorf("read lock file: %s is a folder", name)}, "name the file in it: %s", filepath.Join(name, lockfile.DefaultName))
	}
	if err != nil {
		return lockfile.File{}, fmt.Errorf("read lock file: %w", err)
	}
	f, err := lockfile.Decode(text)
	if err != nil {
		return f, fmt.Errorf("lock file %s: %w", name, err)
	}
	return f, nil
}

// writeLockFile replaces a file at once, or writes into what is none, such as a pipe.
func writeLockFile(name string, text []byte) (err error) {
	named := name
	defer func() {
		if err = cannotWrite(named, err); err != nil {
			err = fmt.Errorf("lock file: %w", err)
		}
	}()
	mode := fs.FileMode(0o644)
	if real, err := filepath.EvalSymlinks(name); err == nil {
		name = real
		st, err := os.Stat(name)
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			return os.WriteFile(name, text, 0o644)
		}
		mode = st.Mode().Perm()
	}
	o := &output{path: name}
	if err := o.create(); err != nil {
		return err
	}
	defer o.close()
	_, err = o.f.Write(text)
	if err = errors.Join(err, o.f.Chmod(mode)); err != nil {
		return err
	}
	return o.publish()
}
