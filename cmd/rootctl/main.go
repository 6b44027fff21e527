// Command rootctl makes Debian and Ubuntu root filesystems, keeps them in a cache and runs commands in
// fresh, isolated copies of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/runner"
)

func main() {
	if runner.Main(os.Args) { // the keeper re-executes this binary to tidy up
		return
	}
	if in, args := insideOf(os.Args); in != nil {
		os.Exit(execute(context.Background(), in, args))
	}
	os.Exit(execute(context.Background(), nil, os.Args[1:]))
}

// execute runs one command line and returns the process's exit code; only it prints errors.
func execute(ctx context.Context, in *inside, args []string) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := newApp(cancel)
	a.argv, a.inside = args, in
	if in != nil {
		nameProcess("rootctl")
		a.signals.watchSignals()
	}
	a.verbIsRun = len(args) > 0 && args[0] == "run" // also for errors found before the verb's own code begins
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return a.exit
	}
	var silent *exitCode
	if errors.As(err, &silent) {
		return silent.code
	}
	code := codeOf(err)
	if strings.HasPrefix(err.Error(), "unknown command ") { // cobra has no type for it
		code, err = codeUsage, withHint(err, "rootctl --help lists the verbs")
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(a.stderr, "rootctl: interrupted; nothing was left behind")
		if a.verbIsRun {
			return codeRunFailed
		}
		return codeInterrupted
	}
	fmt.Fprintf(a.stderr, "rootctl: %s\n", printable(err.Error()))
	a.printScript(err)
	if h := hintOf(err); h != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", printable(h))
	}
	var command *commandFailed
	switch {
	case errors.As(err, &command):
		code = command.code
	case a.verbIsRun:
		code = codeRunFailed
	}
	return code
}

// printScript shows the end of a failed maintainer script's output, its likely cause and where all of
// it lies.
func (a *app) printScript(err error) {
	var failed *debootstrap.ConfigureError
	if !errors.As(err, &failed) {
		return
	}
	for _, line := range failed.LastLines {
		fmt.Fprintf(a.stderr, "  | %s\n", oneLine(line))
	}
	if cause := failed.Cause(); cause != "" {
		fmt.Fprintf(a.stderr, "cause: %s\n", cause)
	}
	if failed.LogPath != "" {
		fmt.Fprintf(a.stderr, "log: %s\n", failed.LogPath)
	}
}
