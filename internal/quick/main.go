// Command quick is the second program in rootctl's one file (internal/quick/join): run and exec of what is there already,
// with flags that ask for nothing special. It has few packages, so it starts in half the time of the whole program.
//
// It only does what it does from the first to the last step as the whole program does it. For everything else it executes
// the whole program, which begins anew: a root that is to be built, a user without id ranges, a terminal, most flags, and
// every error before the command runs. So it never has to word one.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
)

// wholeName is argv[0] by which the file's entry takes the whole program. A name of eight letters: it is compared as a
// number.
const wholeName = "rootctl:"

// shellName is the link by which a step of GitHub's calls rootctl: its first word is a root's name, not a verb.
const shellName = "rootctl-shell"

// codeFailed is that of every failure of rootctl's own in run and exec.
const codeFailed = 125

// errWhole is for the whole program; nothing has been done.
var errWhole = errors.New("for the whole program")

func main() {
	if strings.HasPrefix(os.Args[0], wholeName) { // not joined with a whole program: it would execute itself for ever
		fmt.Fprintln(os.Stderr, "rootctl: this file has no whole program\nhint: make build")
		os.Exit(codeFailed)
	}
	death := deathSignal()
	signals := make(chan os.Signal, 8)
	if filepath.Base(os.Args[0]) == shellName { // the entry looks at the first word alone: a root may be called run
		handOver(death, signals, append([]string{"ci", "shell"}, os.Args[1:]...))
	}
	inside := container.InsideIDs(os.Args[0])
	if inside != 0 {
		container.NameProcess()
	}
	code, err := perform(inside, os.Args[1:], signals)
	if err == nil {
		os.Exit(code)
	}
	var late *lateError
	if errors.As(err, &late) {
		fmt.Fprintln(os.Stderr, "rootctl: "+late.Error())
		os.Exit(codeFailed)
	}
	handOver(death, signals, os.Args[1:])
}

// lateError is one of a container whose command has run: there is nothing to begin anew.
type lateError struct{ error }

// perform does a command line and gives the exit code.
func perform(inside uint32, words []string, signals chan os.Signal) (int, error) {
	l, ok := parse(words)
	if !ok {
		return 0, errWhole
	}
	l.inside = inside
	terminal := isTerminal(0) && isTerminal(1) // the command gets one of its own
	if os.Geteuid() != 0 {
		return l.enter(words, terminal, signals)
	}
	if terminal || !runner.Capable("SYS_ADMIN") {
		return 0, errWhole
	}
	if l.verb == "exec" {
		return l.exec(context.Background(), signals)
	}
	return l.run(context.Background(), signals)
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// deathSignal is the signal that the kernel sends this process when the one that started it ends (0: none).
func deathSignal() (n int32) {
	_ = unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&n)), 0, 0, 0)
	return n
}

// handOver executes the whole program with words. What files this one has open are closed with it. The signal of the
// parent's death is a thread's own, not the process's (prctl(2)), and this may run on another than the first thread.
func handOver(death int32, signals chan os.Signal, words []string) {
	signal.Reset()
	select {
	case s := <-signals: // meant for what was to be started
		if n, ok := s.(unix.Signal); ok {
			_ = unix.Kill(os.Getpid(), n)
		}
	default:
	}
	name := wholeName
	if ids := container.InsideIDs(os.Args[0]); ids != 0 {
		name = container.InsideName(ids, true)
	}
	argv := append([]string{name}, words...)
	runtime.LockOSThread()
	if death != 0 {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(death), 0, 0, 0)
	}
	err := unix.Exec("/proc/self/exe", argv, os.Environ())
	fmt.Fprintf(os.Stderr, "rootctl: start the whole program: %v\nhint: rootctl needs /proc, and a machine that executes this file by itself\n", err)
	os.Exit(codeFailed)
}

// say prints lines for people.
func say(lines []string) []string {
	for _, l := range lines {
		fmt.Fprintln(os.Stderr, l)
	}
	return nil
}
