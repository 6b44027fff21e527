package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/reference"
	"github.com/rootctl/rootctl/suites"
)

// comparer makes comparisons from one mirror.
type comparer struct {
	*options
	set     *suites.Set
	allowed []*reference.Allowed
	program string // rootctl, absolute
	url     string // of the mirror
	out     io.Writer
}

// table goes through the cases and prints a line for each, and all that was found for those that fail.
func (c *comparer) table(ctx context.Context, all []reference.Case) (clean bool, err error) {
	only, err := regexp.Compile(c.only)
	if err != nil {
		return false, err
	}
	all = slices.DeleteFunc(all, func(x reference.Case) bool { return !only.MatchString(x.String()) })
	failed, start, out := 0, time.Now(), c.out
	for _, x := range all {
		began := time.Now()
		var detail bytes.Buffer
		c.out = &detail
		result, ok, err := c.one(ctx, x, []string{"debootstrap"})
		c.out = out
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		word := "ok    "
		if err != nil || !ok {
			word = "FAILED"
			failed++
		}
		if err != nil {
			result = "error"
			fmt.Fprintln(&detail, "  ", err)
		}
		fmt.Fprintf(out, "%s %s: %s (%.0f s)\n", word, x, result, time.Since(began).Seconds())
		if word != "ok    " || c.all || x.Kind == "ways" { // a line for each
			_, _ = detail.WriteTo(out)
		}
	}
	fmt.Fprintf(out, "%d cases, %d failed, %.0f s\n", len(all), failed, time.Since(start).Seconds())
	return failed == 0, nil
}

// one makes one comparison; result is its outcome in a few words.
func (c *comparer) one(ctx context.Context, x reference.Case, against []string) (result string, clean bool, err error) {
	su, err := c.set.Lookup(x.Suite)
	if err != nil {
		return "", false, err
	}
	work, err := os.MkdirTemp("", "rootctl-compare-")
	if err != nil {
		return "", false, err
	}
	if c.keep {
		fmt.Fprintf(c.out, "roots are kept in %s\n", work)
	} else {
		defer os.RemoveAll(work) //nolint:errcheck // a temporary folder
	}
	job := &reference.Job{
		Suite: su, Variant: x.Variant, Arch: x.Arch, Keyring: filepath.Join(work, "keyring.gpg"),
		Mirror:  c.url + "/" + reference.Folder(su.MirrorsFor(x.Arch)[0]),
		Include: x.Include, Exclude: x.Exclude, Log: io.Discard,
	}
	if c.logs {
		job.Log = os.Stderr
	}
	if err := reference.WriteKeyring(c.set, su, job.Keyring); err != nil {
		return "", false, err
	}
	switch x.Kind {
	case "list":
		return c.lists(ctx, job, x, work, job.DebootstrapList)
	case "set":
		result, clean, err = c.lists(ctx, job, x, work, job.MmdebstrapList)
		if err != nil || clean {
			return result, clean, err
		}
		fmt.Fprintln(c.out, "  so says its simulation; it builds one in earnest:")
		result, clean, err = c.lists(ctx, job, x, work, job.MmdebstrapInstalled)
		return result + ", built in earnest", clean, err
	case "twice":
		return c.twice(ctx, job, work)
	case "users":
		return c.users(ctx, job, work)
	case "ways":
		return c.ways(ctx, job, work)
	case "inside":
		against = nil
	}
	return c.trees(ctx, job, work, against)
}

// lists compares the package lists, which need no root to be made.
func (c *comparer) lists(ctx context.Context, job *reference.Job, x reference.Case, work string, list func(context.Context, string) ([]string, error)) (string, bool, error) {
	ours, err := job.OurList(ctx, c.set, filepath.Join(work, "cache"))
	if err != nil {
		return "", false, err
	}
	dir, err := os.MkdirTemp(work, "theirs-")
	if err != nil {
		return "", false, err
	}
	theirs, err := list(ctx, filepath.Join(dir, "root"))
	if err != nil {
		return "", false, err
	}
	onlyOurs, onlyTheirs := reference.CompareLists(ours, theirs)
	name := map[string]string{"list": "debootstrap", "set": "mmdebstrap"}[x.Kind]
	entries := c.entries(name, job)
	onlyOurs, a := c.unexpected(onlyOurs, "extra", entries, x.Added)
	onlyTheirs, b := c.unexpected(onlyTheirs, "missing", entries, nil)
	for _, n := range onlyOurs {
		fmt.Fprintf(c.out, "  DIFFERS package %s: only ours\n", n)
	}
	for _, n := range onlyTheirs {
		fmt.Fprintf(c.out, "  DIFFERS package %s: only %s's\n", n, name)
	}
	for _, n := range x.Added {
		if !slices.Contains(ours, n) || slices.Contains(theirs, n) {
			fmt.Fprintf(c.out, "  DIFFERS package %s: we alone were to have it\n", n)
			onlyOurs = append(onlyOurs, n)
		}
	}
	result := fmt.Sprintf("%d packages, %d differ, %d allowed", len(ours), len(onlyOurs)+len(onlyTheirs), a+b)
	return result, len(onlyOurs)+len(onlyTheirs) == 0, nil
}

// unexpected takes names that were announced or are allowed from those that only one side has. In the
// allow-list a package of a set is "package:NAME".
func (c *comparer) unexpected(names []string, kind string, entries []*reference.Allowed, announced []string) (stand []string, allowed int) {
	for _, n := range names {
		_, ok := reference.Judge([]reference.Difference{{Path: "package:" + n, Kind: kind}}, entries)
		if len(ok) > 0 || slices.Contains(announced, n) {
			allowed++
			continue
		}
		stand = append(stand, n)
	}
	return stand, allowed
}

// twice builds in two caches, the second time in another environment.
func (c *comparer) twice(ctx context.Context, job *reference.Job, work string) (string, bool, error) {
	var digests []string
	for n, env := range [][]string{nil, {"TZ=Asia/Kolkata", "LC_ALL=C.UTF-8", "GOMAXPROCS=1"}} {
		rc := reference.Rootctl{Program: c.program, Cache: filepath.Join(work, fmt.Sprint("cache", n)), Env: env}
		rep, err := rc.Build(ctx, job, c.flags(job)...)
		if err != nil {
			return "", false, err
		}
		digests = append(digests, rep.Digest)
	}
	if digests[0] != digests[1] {
		fmt.Fprintf(c.out, "  DIFFERS digest: %s, then %s\n", digests[0], digests[1])
	}
	return "sha256:" + strings.Join(slices.Compact(slices.Clone(digests)), " sha256:"), digests[0] == digests[1], nil
}

// flags are those of the program's build beside what the job says.
func (c *comparer) flags(job *reference.Job) []string {
	if len(job.Include)+len(job.Exclude) > 0 {
		return []string{"--tag", "compared"}
	}
	return nil
}

// entries are those of the allow-list that are meant for a comparison.
func (c *comparer) entries(name string, job *reference.Job) (entries []*reference.Allowed) {
	for _, a := range c.allowed {
		if a.Applies(name, job.Suite.Codename, job.Variant) {
			a.Used = 0
			entries = append(entries, a)
		}
	}
	return entries
}
