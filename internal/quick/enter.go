package main

import (
	"os"
	"os/signal"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
)

// enter is the whole program's for an ordinary user with id ranges: it has a second process do the run in a user
// namespace, which is this program again, or the whole one for a terminal.
func (l *line) enter(words []string, terminal bool, signals chan os.Signal) (int, error) {
	if l.verb != "run" || l.inside != 0 {
		return 0, errWhole
	}
	m, err := container.UserMap(filepath.SplitList(os.Getenv("PATH")))
	if err != nil || m.Single() {
		return 0, errWhole
	}
	dir := os.Getenv("ROOTCTL_CACHE")
	if dir == "" {
		dir = container.UserCache(os.Getenv, os.Geteuid(), container.OwnerOf, container.PasswdHome)
	}
	if dir, err = filepath.Abs(dir); err != nil || unix.Access(dir, unix.W_OK) != nil { // the whole program makes it
		return 0, errWhole
	}
	state := os.Getenv("ROOTCTL_STATE")
	if state == "" {
		state = container.RecordsPath(os.Getenv, os.Geteuid())
	}
	runtime.LockOSThread() // the other process dies with the thread that made it
	defer runtime.UnlockOSThread()
	signal.Notify(signals, container.Signals()...) // before it starts: whatever arrives from now on is its business
	in, err := runner.Enter(m, append([]string{container.InsideName(m.Size(), terminal)}, words...),
		append(os.Environ(), "ROOTCTL_CACHE="+dir, "ROOTCTL_STATE="+state))
	if err != nil {
		return 0, errWhole
	}
	code, said := container.RelayUntilEnd(in, signals)
	if said != "" {
		say([]string{said})
	}
	return code, nil
}
