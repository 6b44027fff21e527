// Runroot runs a command through the runner, for tests that need a process of its own and for measuring.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/rootctl/rootctl/internal/runner"
)

func main() {
	if runner.Main(os.Args) {
		return
	}
	os.Exit(run())
}

func run() int {
	var s runner.Spec
	var keep runner.Keep
	work := flag.String("work", "", "temporary folder for the copy, removed at the end")
	binds := flag.String("bind", "", "SRC:DST,...")
	lower := flag.String("lower", "", "directories, topmost first, joined by :")
	plan := flag.Bool("plan", false, "print the plan")
	ids := flag.String("ids", "/run/rootctl/ids", "")
	flag.StringVar(&s.Dir, "dir", "", "directory used in place")
	flag.StringVar(&s.UserNS, "userns", "own", "")
	flag.StringVar(&s.Net, "net", "none", "")
	flag.StringVar(&s.Workdir, "workdir", "", "")
	flag.BoolVar(&s.TTY, "t", false, "")
	flag.BoolVar(&s.NoFsync, "nofsync", false, "")
	flag.Parse()
	if *lower != "" {
		s.Lower = strings.Split(*lower, ":")
	}
	s.Argv = flag.Args()
	s.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=" + os.Getenv("TERM")}
	if *binds != "" {
		for _, b := range strings.Split(*binds, ",") {
			src, dst, _ := strings.Cut(b, ":")
			s.Binds = append(s.Binds, runner.Bind{Src: src, Dst: dst})
		}
	}
	if s.UserNS == "own" {
		r, f, err := runner.ClaimIDs(*ids)
		if err != nil {
			return fail(err)
		}
		s.IDs = r
		keep.Locks = append(keep.Locks, f)
	}
	if *work != "" {
		if err := os.Mkdir(*work, 0o700); err != nil {
			return fail(err)
		}
		s.Work = *work
		keep.Remove = []string{*work}
	}
	if *plan {
		p, err := s.Plan()
		if err != nil {
			return fail(err)
		}
		fmt.Print(p)
		return 0
	}
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
	st, err := runner.Run(context.Background(), s, runner.Options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Keep: &keep, Signals: sigs,
		Note: func(n string) { fmt.Fprintln(os.Stderr, "note:", n) },
	})
	if err != nil {
		fail(err)
	}
	if st.Outside {
		fmt.Fprintf(os.Stderr, "killed from outside (signal %d)\n", st.Signal)
	}
	return st.Code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, "runroot:", err)
	var h interface{ Hint() string }
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintln(os.Stderr, "hint:", h.Hint())
	}
	return 125
}
