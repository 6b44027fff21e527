package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/rootctl/rootctl/internal/reference"
)

// root is a tree with its packages, by whoever it was made.
type root struct {
	dir      string
	digest   string // of ours
	sound    bool   // ours: dpkg and apt inside have nothing to complain of
	packages reference.Packages
	tree     reference.Tree
}

// trees builds with rootctl and with the references, and compares.
func (c *comparer) trees(ctx context.Context, job *reference.Job, work string, against []string) (result string, clean bool, err error) {
	fmt.Fprintf(c.out, "compare %s %s %s\n", job.Suite.Codename, job.Variant, job.Arch)
	ours, err := c.buildOurs(ctx, job, work)
	if err != nil {
		return "", false, err
	}
	clean = ours.sound
	result = fmt.Sprintf("%d packages, sha256:%.12s, ", len(ours.packages), ours.digest)
	for _, name := range against {
		differ, allowed, err := c.compareWith(ctx, job, work, name, ours)
		if err != nil {
			return "", false, err
		}
		result += fmt.Sprintf("%d differ, %d allowed, ", differ, allowed)
		clean = clean && differ == 0
	}
	inside := "inside clean"
	if !ours.sound {
		inside = "INSIDE NOT CLEAN"
	}
	return result + inside, clean, nil
}

// buildOurs builds with rootctl, and looks at the root from inside.
func (c *comparer) buildOurs(ctx context.Context, job *reference.Job, work string) (r root, err error) {
	if c.ours != "" {
		fmt.Fprintf(c.out, "ours is %s: nothing is looked at from inside\n", c.ours)
		r, err = readRoot(c.ours)
		r.sound = true
		return r, err
	}
	rc := reference.Rootctl{Program: c.program, Cache: filepath.Join(work, "cache")}
	rep, err := rc.Build(ctx, job, c.flags(job)...)
	if err != nil {
		return r, err
	}
	if r.tree, err = rc.Tree(rep.Digest); err != nil {
		return r, fmt.Errorf("sealed root %s: %w", rep.Digest, err)
	}
	r.dir, r.digest = rc.Dir(rep.Digest), rep.Digest
	if r.packages, err = reference.ReadPackages(r.dir); err != nil {
		return r, err
	}
	fmt.Fprintf(c.out, "rootctl      %5d files, %3d packages, sha256:%s\n", len(r.tree), len(r.packages), rep.Digest)
	r.sound = c.insideIsClean(ctx, rc, rep.Digest, r.tree)
	return r, nil
}

// insideIsClean asks the root's own dpkg, and apt where there is one, what they think of it.
func (c *comparer) insideIsClean(ctx context.Context, rc reference.Rootctl, name string, tree reference.Tree) bool {
	clean := true
	for _, ask := range []struct {
		argv   []string
		silent bool
	}{
		{[]string{"dpkg", "--audit"}, true}, {[]string{"dpkg", "--verify"}, true}, {[]string{"apt-get", "check"}, false},
	} {
		if _, ok := tree["usr/bin/"+ask.argv[0]]; !ok && ask.argv[0] == "apt-get" {
			continue
		}
		out, err := rc.Run(ctx, name, ask.argv...)
		if err != nil || ask.silent && out != "" {
			fmt.Fprintf(c.out, "  INSIDE %s: %v\n%s\n", strings.Join(ask.argv, " "), err, out)
			clean = false
			continue
		}
		fmt.Fprintf(c.out, "  inside: %s is clean\n", strings.Join(ask.argv, " "))
	}
	return clean
}

// compareWith builds with a reference. One that mmdebstrap cannot build is no difference.
func (c *comparer) compareWith(ctx context.Context, job *reference.Job, work, name string, ours root) (differ, allowed int, err error) {
	dir := filepath.Join(work, name)
	switch name {
	case "debootstrap":
		err = job.Debootstrap(ctx, dir)
	case "mmdebstrap":
		if err = job.Mmdebstrap(ctx, dir); err != nil && ctx.Err() == nil {
			fmt.Fprintf(c.out, "mmdebstrap cannot build this one: %s\n", lastLine(err.Error()))
			return 0, 0, nil
		}
	default:
		err = fmt.Errorf("no reference is called %q", name)
	}
	if err != nil {
		return 0, 0, err
	}
	theirs, err := readRoot(dir)
	if err != nil {
		return 0, 0, err
	}
	fmt.Fprintf(c.out, "%-12s %5d files, %3d packages\n", name, len(theirs.tree), len(theirs.packages))
	return c.judge(name, ours, theirs, c.entries(name, job))
}

// judge prints what differs. mmdebstrap chooses other packages by design: where it did, the packages that
// both have are compared, and the files that those ship.
func (c *comparer) judge(name string, ours, theirs root, entries []*reference.Allowed) (differ, allowed int, err error) {
	all, onlyOurs, onlyTheirs := reference.ComparePackages(ours.packages, theirs.packages, name == "mmdebstrap")
	whole := name != "mmdebstrap" || len(onlyOurs)+len(onlyTheirs) == 0
	if !whole {
		fmt.Fprintf(c.out, "  its set is another by design: only ours %v, only its %v\n", onlyOurs, onlyTheirs)
		if ours.tree, theirs.tree, err = shipped(ours, theirs); err != nil {
			return 0, 0, err
		}
		fmt.Fprintf(c.out, "  compared are %d files that the packages of both ship\n", len(ours.tree))
	}
	all = append(all, reference.CompareTrees(ours.tree, theirs.tree)...)
	stand, meant := reference.Judge(all, entries)
	for _, d := range stand {
		fmt.Fprintf(c.out, "  DIFFERS %-9s %s: ours %s, %s's %s\n", d.Kind, d.Path, text(d.Ours), name, text(d.Theirs))
	}
	if c.options.all {
		for _, d := range meant {
			fmt.Fprintf(c.out, "  allowed %-9s %s: ours %s, its %s\n", d.Kind, d.Path, text(d.Ours), text(d.Theirs))
		}
	}
	fmt.Fprintf(c.out, "  %d differences, %d of them allowed\n", len(all), len(meant))
	for _, a := range entries {
		if a.Used > 0 {
			fmt.Fprintf(c.out, "    %3d  %s (%s): %s\n", a.Used, a.Pattern, strings.Join(a.Kinds, ","), a.Reason)
		}
	}
	for _, a := range entries {
		if a.Used == 0 && whole {
			fmt.Fprintf(c.out, "    unused: line %d of the allow-list, %s (%s)\n", a.Line, a.Pattern, strings.Join(a.Kinds, ","))
		}
	}
	return len(stand), len(meant), nil
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

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
