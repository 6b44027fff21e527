// Command compare builds one root with rootctl and with debootstrap (and mmdebstrap where it can) from
// one frozen mirror, and compares the package lists and the trees.
//
//	go run ./internal/reference/compare --suite bookworm --variant minbase
//
// Differences that are meant stand in allow.txt with their reasons. It exits with 1 when others are
// found. It needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/rootctl/rootctl/internal/reference"
	"github.com/rootctl/rootctl/suites"
)

type options struct {
	suite, variant, arch     string
	include, exclude         string
	mirrorDir, allow         string
	program, ours            string
	against                  string
	offline, keep, logs, all bool
}

func main() {
	var o options
	flag.StringVar(&o.suite, "suite", "bionic", "suite")
	flag.StringVar(&o.variant, "variant", "minbase", "variant as debootstrap names it; - is its default")
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "Debian architecture")
	flag.StringVar(&o.include, "include", "", "packages to add, separated by commas")
	flag.StringVar(&o.exclude, "exclude", "", "packages to leave out, separated by commas")
	flag.StringVar(&o.mirrorDir, "mirror", ".cache/mirror", "folder of the partial mirror")
	flag.BoolVar(&o.offline, "offline", false, "use only what the mirror has")
	flag.StringVar(&o.allow, "allow", "internal/reference/allow.txt", "the list of differences that are meant")
	flag.StringVar(&o.program, "rootctl", "./rootctl", "the rootctl program")
	flag.StringVar(&o.ours, "ours", "", "a folder to compare instead of building with rootctl")
	flag.StringVar(&o.against, "against", "debootstrap,mmdebstrap", "references, separated by commas")
	flag.BoolVar(&o.keep, "keep", false, "keep the roots and say where they are")
	flag.BoolVar(&o.logs, "v", false, "show the output of the programs")
	flag.BoolVar(&o.all, "all", false, "list the allowed differences one by one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	clean, err := o.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(1)
	}
	if !clean {
		os.Exit(1)
	}
}

// root is a tree with its packages, by whoever it was made.
type root struct {
	dir      string
	packages reference.Packages
	tree     reference.Tree
}

func (o *options) run(ctx context.Context) (clean bool, err error) {
	f, err := os.Open(o.allow)
	if err != nil {
		return false, err
	}
	allowed, err := reference.ReadAllowed(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return false, err
	}
	set, err := suites.Load()
	if err != nil {
		return false, err
	}
	su, err := set.Lookup(o.suite)
	if err != nil {
		return false, err
	}
	work, err := os.MkdirTemp("", "rootctl-compare-")
	if err != nil {
		return false, err
	}
	if o.keep {
		fmt.Printf("roots are kept in %s\n", work)
	} else {
		defer os.RemoveAll(work) //nolint:errcheck // a temporary folder
	}
	m := &reference.Mirror{Dir: o.mirrorDir, Offline: o.offline, Upstreams: reference.Upstreams(set, o.arch, reference.HostAptSources()...)}
	url, stop, err := m.Listen("127.0.0.1:0")
	if err != nil {
		return false, err
	}
	defer stop()
	job := &reference.Job{
		Suite: su, Variant: o.variant, Arch: o.arch, Keyring: filepath.Join(work, "keyring.gpg"),
		Mirror:  url + "/" + reference.Folder(su.MirrorsFor(o.arch)[0]),
		Include: list(o.include), Exclude: list(o.exclude), Log: io.Discard,
	}
	if o.logs {
		job.Log = os.Stderr
	}
	if err := reference.WriteKeyring(set, su, job.Keyring); err != nil {
		return false, err
	}
	fmt.Printf("compare %s %s %s\n", su.Codename, o.variant, o.arch)
	ours, clean, err := o.buildOurs(ctx, job, work)
	if err != nil {
		return false, err
	}
	for _, name := range list(o.against) {
		ok, err := o.compareWith(ctx, job, work, name, ours, allowed)
		if err != nil {
			return false, err
		}
		clean = clean && ok
	}
	if clean {
		fmt.Println("no difference but those allowed")
	}
	return clean, nil
}

// buildOurs builds with rootctl, and looks at the root from inside.
func (o *options) buildOurs(ctx context.Context, job *reference.Job, work string) (r root, clean bool, err error) {
	if o.ours != "" {
		fmt.Printf("ours is %s: nothing is looked at from inside\n", o.ours)
		r, err = readRoot(o.ours)
		return r, err == nil, err
	}
	program, err := filepath.Abs(o.program)
	if err != nil {
		return r, false, err
	}
	rc := reference.Rootctl{Program: program, Cache: filepath.Join(work, "cache")}
	var flags []string
	if len(job.Include)+len(job.Exclude) > 0 {
		flags = []string{"--tag", "compared"}
	}
	rep, err := rc.Build(ctx, job, flags...)
	if err != nil {
		return r, false, err
	}
	if r.tree, err = rc.Tree(rep.Digest); err != nil {
		return r, false, fmt.Errorf("sealed root %s: %w", rep.Digest, err)
	}
	r.dir = rc.Dir(rep.Digest)
	if r.packages, err = reference.ReadPackages(r.dir); err != nil {
		return r, false, err
	}
	fmt.Printf("rootctl      %5d files, %3d packages, sha256:%s\n", len(r.tree), len(r.packages), rep.Digest)
	return r, insideIsClean(ctx, rc, rep.Digest), nil
}

// insideIsClean asks the root's own dpkg and apt what they think of it.
func insideIsClean(ctx context.Context, rc reference.Rootctl, name string) bool {
	clean := true
	for _, c := range []struct {
		argv   []string
		silent bool
	}{
		{[]string{"dpkg", "--audit"}, true}, {[]string{"dpkg", "--verify"}, true}, {[]string{"apt-get", "check"}, false},
	} {
		out, err := rc.Run(ctx, name, c.argv...)
		if err != nil || c.silent && out != "" {
			fmt.Printf("  INSIDE %s: %v\n%s\n", strings.Join(c.argv, " "), err, out)
			clean = false
			continue
		}
		fmt.Printf("  inside: %s is clean\n", strings.Join(c.argv, " "))
	}
	return clean
}

func (o *options) compareWith(ctx context.Context, job *reference.Job, work, name string, ours root, allowed []*reference.Allowed) (bool, error) {
	dir := filepath.Join(work, name)
	var err error
	switch name {
	case "debootstrap":
		err = job.Debootstrap(ctx, dir)
	case "mmdebstrap":
		if err = job.Mmdebstrap(ctx, dir); err != nil && ctx.Err() == nil {
			fmt.Printf("mmdebstrap cannot build this one: %s\n", lastLine(err.Error()))
			return true, nil
		}
	default:
		err = fmt.Errorf("no reference is called %q", name)
	}
	if err != nil {
		return false, err
	}
	theirs, err := readRoot(dir)
	if err != nil {
		return false, err
	}
	fmt.Printf("%-12s %5d files, %3d packages\n", name, len(theirs.tree), len(theirs.packages))
	var entries []*reference.Allowed
	for _, a := range allowed {
		if a.Applies(name, job.Suite.Codename, job.Variant) {
			a.Used = 0
			entries = append(entries, a)
		}
	}
	return o.judge(name, ours, theirs, entries)
}

// judge prints what differs. mmdebstrap chooses other packages by design: where it did, the packages that
// both have are compared, and the files that those ship.
func (o *options) judge(name string, ours, theirs root, entries []*reference.Allowed) (bool, error) {
	all, onlyOurs, onlyTheirs := reference.ComparePackages(ours.packages, theirs.packages, name == "mmdebstrap")
	whole := name != "mmdebstrap" || len(onlyOurs)+len(onlyTheirs) == 0
	if !whole {
		fmt.Printf("  its set is another by design: only ours %v, only its %v\n", onlyOurs, onlyTheirs)
		var err error
		if ours.tree, theirs.tree, err = shipped(ours, theirs); err != nil {
			return false, err
		}
		fmt.Printf("  compared are %d files that the packages of both ship\n", len(ours.tree))
	}
	all = append(all, reference.CompareTrees(ours.tree, theirs.tree)...)
	stand, allowed := reference.Judge(all, entries)
	for _, d := range stand {
		fmt.Printf("  DIFFERS %-9s %s: ours %s, %s's %s\n", d.Kind, d.Path, text(d.Ours), name, text(d.Theirs))
	}
	if o.all {
		for _, d := range allowed {
			fmt.Printf("  allowed %-9s %s: ours %s, its %s\n", d.Kind, d.Path, text(d.Ours), text(d.Theirs))
		}
	}
	fmt.Printf("  %d differences, %d of them allowed\n", len(all), len(allowed))
	for _, a := range entries {
		if a.Used > 0 {
			fmt.Printf("    %3d  %s (%s): %s\n", a.Used, a.Pattern, strings.Join(a.Kinds, ","), a.Reason)
		}
	}
	for _, a := range entries {
		if a.Used == 0 && whole {
			fmt.Printf("    unused: line %d of the allow-list, %s (%s)\n", a.Line, a.Pattern, strings.Join(a.Kinds, ","))
		}
	}
	return len(stand) == 0, nil
}

// shipped cuts both trees down to the files of the packages that both have.
func shipped(ours, theirs root) (a, b reference.Tree, err error) {
	common := map[string]bool{}
	for p := range ours.packages {
		if _, ok := theirs.packages[p]; ok {
			common[p] = true
		}
	}
	if a, err = reference.OwnedBy(ours.dir, ours.tree, common); err != nil {
		return nil, nil, err
	}
	b, err = reference.OwnedBy(theirs.dir, theirs.tree, common)
	return a, b, err
}

func readRoot(dir string) (r root, err error) {
	r.dir = dir
	if r.tree, err = reference.ScanTree(dir); err != nil {
		return r, err
	}
	r.packages, err = reference.ReadPackages(dir)
	return r, err
}

func text(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
