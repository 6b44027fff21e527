// Command compare builds one root with rootctl and with debootstrap (and mmdebstrap where it can) from
// one frozen mirror, and compares the package lists and the trees.
//
//	go run ./internal/reference/compare --suite bookworm --variant minbase
//
// With --cases it goes through a table of such comparisons and prints a line for each.
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
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/suites"
)

type options struct {
	suite, variant, arch     string
	include, exclude         string
	mirrorDir, allow         string
	program, ours            string
	against                  string
	cases, only, way         string
	offline, keep, logs, all bool
}

func main() {
	if runner.Main(os.Args) { // the keeper of containers re-executes this program to tidy up
		return
	}
	var o options
	flag.StringVar(&o.suite, "suite", "bionic", "suite")
	flag.StringVar(&o.variant, "variant", "minbase", "variant")
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "Debian architecture")
	flag.StringVar(&o.include, "include", "", "packages to add, separated by commas")
	flag.StringVar(&o.exclude, "exclude", "", "packages to leave out, separated by commas")
	flag.StringVar(&o.mirrorDir, "mirror", ".cache/mirror", "folder of the partial mirror")
	flag.BoolVar(&o.offline, "offline", false, "use only what the mirror has")
	flag.StringVar(&o.allow, "allow", "internal/reference/allow.txt", "the list of differences that are meant")
	flag.StringVar(&o.program, "rootctl", "./rootctl", "the rootctl program")
	flag.StringVar(&o.ours, "ours", "", "a folder to compare instead of building with rootctl")
	flag.StringVar(&o.against, "against", "debootstrap,mmdebstrap", "references, separated by commas")
	flag.StringVar(&o.cases, "cases", "", "go through this table of cases instead")
	flag.StringVar(&o.only, "only", "", "of the table, only the cases whose line matches this regular expression")
	flag.StringVar(&o.way, "way", "", "of a case of kind ways, only the ways whose name matches this regular expression, and the plain one")
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

func (o *options) run(ctx context.Context) (clean bool, err error) {
	c := &comparer{options: o, out: os.Stdout}
	if c.allowed, err = readFile(o.allow, reference.ReadAllowed); err != nil {
		return false, err
	}
	if c.set, err = suites.Load(); err != nil {
		return false, err
	}
	if c.program, err = filepath.Abs(o.program); err != nil {
		return false, err
	}
	m := &reference.Mirror{Dir: o.mirrorDir, Offline: o.offline, Upstreams: reference.Upstreams(c.set, o.arch, reference.HostAptSources()...)}
	var stop func()
	if c.url, stop, err = m.Listen("127.0.0.1:0"); err != nil {
		return false, err
	}
	defer stop()
	if o.cases != "" {
		all, err := readFile(o.cases, reference.ReadCases)
		if err != nil {
			return false, err
		}
		return c.table(ctx, all)
	}
	one := reference.Case{Kind: "tree", Suite: o.suite, Variant: o.variant, Arch: o.arch, Include: list(o.include), Exclude: list(o.exclude)}
	_, clean, err = c.one(ctx, one, list(o.against))
	if err == nil && clean {
		fmt.Fprintln(c.out, "no difference but those allowed")
	}
	return clean, err
}

func readFile[T any](name string, read func(io.Reader) (T, error)) (T, error) {
	f, err := os.Open(name)
	if err != nil {
		var none T
		return none, err
	}
	defer f.Close() //nolint:errcheck // only read
	return read(f)
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
