// Command mirror serves a partial local mirror of Debian's and Ubuntu's archives: a folder that fills
// itself from upstream as files are asked for. What has been fetched is never fetched again, so the
// folder is a frozen, signed snapshot of what was used.
//
//	go run ./internal/reference/mirror --dir .cache/mirror
//
// It prints the URL to use; a suite's mirror is that URL and the folder: URL/ubuntu, URL/debian.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/rootctl/rootctl/internal/reference"
	"github.com/rootctl/rootctl/suites"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "mirror: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	dir := flag.String("dir", ".cache/mirror", "the folder served")
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	offline := flag.Bool("offline", false, "never ask upstream")
	forget := flag.String("forget", "", "suites to fetch anew, separated by commas")
	arch := flag.String("arch", runtime.GOARCH, "architecture whose public mirrors are asked")
	quiet := flag.Bool("quiet", false, "say nothing about fetched files")
	given := map[string][]string{}
	flag.Func("upstream", "FOLDER=URL, asked before the usual ones; may be repeated", func(s string) error {
		folder, url, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("%q is not FOLDER=URL", s)
		}
		given[folder] = append(given[folder], strings.TrimRight(url, "/"))
		return nil
	})
	flag.Parse()
	set, err := suites.Load()
	if err != nil {
		return err
	}
	m := &reference.Mirror{Dir: *dir, Offline: *offline, Upstreams: reference.Upstreams(set, *arch, reference.HostAptSources()...)}
	for folder, urls := range given {
		m.Upstreams[folder] = append(urls, m.Upstreams[folder]...)
	}
	if !*quiet {
		m.Log = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	}
	if *forget != "" {
		if err := m.Forget(slices.DeleteFunc(strings.Split(*forget, ","), func(s string) bool { return s == "" })...); err != nil {
			return err
		}
	}
	url, stop, err := m.Listen(*listen)
	if err != nil {
		return err
	}
	fmt.Println(url)
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGINT, syscall.SIGTERM)
	<-sig
	stop()
	return nil
}
