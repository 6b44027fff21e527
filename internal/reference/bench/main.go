// Command bench measures rootctl beside the tools it is compared with, in one run and from one warm
// local mirror, and writes the table between the markers of docs/performance.md.
//
//	go run ./internal/reference/bench --n 5
//
// The tools of a pair take turns, so that what else the machine does meets all of them alike. It needs
// root, debootstrap, mmdebstrap, and for runs bwrap, runc, systemd-nspawn, podman and the tests' ordinary user.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/rootctl/rootctl/internal/reference"
	"github.com/rootctl/rootctl/suites"
)

type options struct {
	n                int
	only, suites     string
	mirrorDir, work  string
	program, page    string
	offline, verbose bool
}

func main() {
	var o options
	flag.IntVar(&o.n, "n", 5, "rounds; of the short measurements there are ten times as many")
	flag.StringVar(&o.only, "only", "cold,hit,run,exec,export,import", "what to measure")
	flag.StringVar(&o.suites, "suites", "bookworm,bionic", "suites that are built")
	flag.StringVar(&o.mirrorDir, "mirror", ".cache/mirror", "folder of the partial mirror")
	flag.BoolVar(&o.offline, "offline", false, "use only what the mirror has")
	flag.StringVar(&o.work, "work", "", "folder for roots and caches (default a temporary one)")
	flag.StringVar(&o.program, "rootctl", "./rootctl", "the rootctl program")
	flag.StringVar(&o.page, "write", "docs/performance.md", "page whose table is replaced; empty: only print")
	flag.BoolVar(&o.verbose, "v", false, "show the output of the programs")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := o.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	work   string
	set    *suites.Set
	mirror string // URL
	rc     reference.Rootctl
	rows   []row
}

func (o *options) run(ctx context.Context) error {
	program, err := filepath.Abs(o.program)
	if err != nil {
		return err
	}
	set, err := suites.Load()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(o.work, "rootctl-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary folder
	m := &reference.Mirror{Dir: o.mirrorDir, Offline: o.offline, Upstreams: reference.Upstreams(set, runtime.GOARCH, reference.HostAptSources()...)}
	url, stop, err := m.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer stop()
	b := &bench{options: *o, work: work, set: set, mirror: url, rc: reference.Rootctl{Program: program, Cache: filepath.Join(work, "cache")}}
	what := strings.Split(o.only, ",")
	if slices.Contains(what, "cold") {
		for _, s := range strings.Split(o.suites, ",") {
			if err := b.cold(ctx, s); err != nil {
				return err
			}
		}
	}
	if slices.ContainsFunc(what, func(w string) bool { return w == "hit" || w == "run" || w == "exec" }) {
		if err := b.cached(ctx, what); err != nil {
			return err
		}
	}
	if slices.Contains(what, "export") {
		if err := b.export(ctx); err != nil {
			return err
		}
	}
	if slices.Contains(what, "import") {
		if err := b.imports(ctx); err != nil {
			return err
		}
	}
	table := render(b.rows, machine(work), strings.Join(append([]string{"go run ./internal/reference/bench"}, os.Args[1:]...), " "))
	fmt.Print(table)
	if o.page == "" {
		return nil
	}
	return replaceTable(o.page, table)
}

// job is the minbase build of a suite.
func (b *bench) job(suite string) (*reference.Job, error) {
	su, err := b.set.Lookup(suite)
	if err != nil {
		return nil, err
	}
	j := &reference.Job{
		Suite: su, Variant: "minbase", Arch: runtime.GOARCH, Keyring: filepath.Join(b.work, suite+".gpg"),
		Mirror: b.mirror + "/" + reference.Folder(su.MirrorsFor(runtime.GOARCH)[0]),
	}
	if b.verbose {
		j.Log = os.Stderr
	}
	return j, reference.WriteKeyring(b.set, su, j.Keyring)
}
