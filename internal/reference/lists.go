package reference

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/suites"
)

// DebootstrapList is the package list that debootstrap --print-debs prints, sorted. dir is a folder it may
// fill and empty.
func (j *Job) DebootstrapList(ctx context.Context, dir string) ([]string, error) {
	argv := append([]string{"debootstrap", "--print-debs"}, j.debootstrapArgs(dir)...)
	// Under --merged-usr it prints usrmerge for Ubuntu, which it does not install ("for germinate"). The
	// layout changes nothing else of the list.
	argv[slices.Index(argv, layout(j))] = "--no-merged-usr"
	var out bytes.Buffer
	if err := j.run(ctx, &out, nil, argv...); err != nil {
		return nil, err
	}
	return sorted(strings.Fields(out.String())), nil
}

// MmdebstrapList is the package list of mmdebstrap's variant, sorted, as its apt says in a simulation. Of
// what it installs in two steps a simulation does the second as if the first had not been, so it may
// list a package too many: MmdebstrapInstalled is the truth.
func (j *Job) MmdebstrapList(ctx context.Context, dir string) ([]string, error) {
	argv := append([]string{"mmdebstrap", "--simulate", "--verbose"}, j.mmdebstrapArgs(dir)...)
	var log bytes.Buffer
	if err := j.run(ctx, &log, nil, append([]string{"sh", "-c", `exec "$@" 2>&1`, "sh"}, argv...)...); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, lastLines(log.String(), 20))
	}
	var names []string
	for line := range strings.Lines(log.String()) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Inst" {
			names = append(names, f[1])
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("mmdebstrap --simulate: no package would be installed\n%s", lastLines(log.String(), 20))
	}
	return sorted(names), nil
}

// MmdebstrapInstalled is the package list of a root that mmdebstrap makes in dir, sorted.
func (j *Job) MmdebstrapInstalled(ctx context.Context, dir string) ([]string, error) {
	if err := j.Mmdebstrap(ctx, dir); err != nil {
		return nil, err
	}
	packages, err := ReadPackages(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for p := range packages {
		name, _, _ := strings.Cut(p, ":")
		names = append(names, name)
	}
	return sorted(names), nil
}

// OurList is the package list that rootctl would install, sorted. dir is the cache used.
func (j *Job) OurList(ctx context.Context, set *suites.Set, dir string) ([]string, error) {
	store, err := cache.Open(dir, cache.Options{})
	if err != nil {
		return nil, err
	}
	b := debootstrap.Builder{Store: store, Suites: set, Now: time.Now, Log: slog.New(slog.DiscardHandler), Client: &fetch.Client{Log: slog.New(slog.DiscardHandler)}}
	lock, err := b.Resolve(ctx, debootstrap.Request{
		Suite: j.Suite, Variant: j.Variant, Arch: j.Arch, Include: j.Include, Exclude: j.Exclude,
		Mirrors: []debootstrap.Mirror{{URL: j.Mirror}}, OnlyThese: true, AllowExpired: true,
	})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range lock.Packages {
		names = append(names, p.Name)
	}
	return sorted(names), nil
}

// CompareLists returns what only one of two sorted lists has.
func CompareLists(ours, theirs []string) (onlyOurs, onlyTheirs []string) {
	without := func(a, b []string) (out []string) {
		for _, n := range a {
			if _, ok := slices.BinarySearch(b, n); !ok {
				out = append(out, n)
			}
		}
		return out
	}
	return without(ours, theirs), without(theirs, ours)
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
