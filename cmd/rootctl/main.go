// Command rootctl makes Debian and Ubuntu root filesystems, keeps them in a cache and runs commands in
// fresh, isolated copies of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/nat"
	"github.com/rootctl/rootctl/internal/runner"
)

func main() {
	if runner.Main(os.Args) { // the keeper re-executes this binary to tidy up
		return
	}
	if sweepNet(os.Args) { // the keeper's last step
		return
	}
	if code, is := nat.WardenMain(os.Args); is { // beside a container with --net=nat of an ordinary user's
		os.Exit(code)
	}
	if in, args := insideOf(os.Args); in != nil {
		os.Exit(execute(context.Background(), in, args))
	}
	if filepath.Base(os.Args[0]) == shellName { // a link to this program, as `shell:` of a step names it
		os.Exit(execute(context.Background(), nil, append([]string{"ci", "shell"}, os.Args[1:]...)))
	}
	os.Exit(execute(context.Background(), nil, os.Args[1:]))
}

// execute runs one command line and returns the process's exit code; only it prints errors.
func execute(ctx context.Context, in *inside, args []string, tune ...func(*app)) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := newApp(cancel)
	a.argv, a.inside, a.last = args, in, len(tune) == 0
	for _, f := range tune { // the tests' only
		f(a)
	}
	if in != nil {
		container.NameProcess()
		a.signals.Watch()
	}
	a.verb = verbOf(args)
	a.verbIsRun = a.verb == "run" || a.verb == "exec" || a.verb == "each" // also for errors found before the verb's own code begins
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
	return a.fail(ctx, plainUsage(root, err))
}

// verbOf is the first word behind the flags that all verbs have.
func verbOf(args []string) string {
	for i := 0; i < len(args); i++ {
		switch w := args[i]; {
		case w == "--cache":
			i++
		case !strings.HasPrefix(w, "-"):
			return w
		}
	}
	return ""
}

// fail says on stderr, and under --json on stdout, why a command line failed, and gives its exit code.
func (a *app) fail(ctx context.Context, err error) int {
	f := a.tell(ctx, err)
	a.printFailure(err, f)
	if f.Code == codeInterrupted && a.verbIsRun {
		return codeRunFailed
	}
	return f.Code
}

// tell says on stderr why something failed, and returns the same for --json.
func (a *app) tell(ctx context.Context, err error) failure {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		text := "interrupted; nothing was left behind"
		if stopped := (*interrupted)(nil); errors.As(err, &stopped) {
			text = "interrupted; " + stopped.state
		}
		fmt.Fprintln(a.stderr, "rootctl: "+text)
		return newFailure(err, text, "", codeInterrupted)
	}
	text, hint, code := err.Error(), hintOf(err), a.codeFor(err)
	fmt.Fprintf(a.stderr, "rootctl: %s\n", printable(text))
	a.printScript(err)
	a.printDifferent(err)
	a.printMissing(err)
	if hint != "" {
		fmt.Fprintf(a.stderr, "hint: %s\n", printable(hint))
	}
	return newFailure(err, text, hint, code)
}

// codeFor is codeOf, but in run every failure of rootctl's own is one code.
func (a *app) codeFor(err error) int {
	var command *commandFailed
	switch {
	case errors.As(err, &command):
		return command.code
	case a.verbIsRun:
		return codeRunFailed
	}
	return codeOf(err)
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

// printDifferent lists what a second build gave otherwise.
func (a *app) printDifferent(err error) {
	var different *debootstrap.DifferentError
	if !errors.As(err, &different) {
		return
	}
	for i, line := range different.Paths {
		if i == maxDifferent {
			fmt.Fprintf(a.stderr, "  and %d more: --json lists them\n", len(different.Paths)-i)
			return
		}
		fmt.Fprintf(a.stderr, "  %s\n", oneLine(line))
	}
}

const maxDifferent = 50
