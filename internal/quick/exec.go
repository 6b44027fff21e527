package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// exec is the whole program's execIn for a container whose command runs.
func (l *line) exec(ctx context.Context, signals chan os.Signal) (int, error) {
	target, err := l.target()
	if err != nil {
		return 0, errWhole
	}
	s := &target.Spec
	// Where root inside owns this file, it is sealed first; only the whole program does that.
	if s.UserNS != "own" || s.Nested || s.ChrootOf() != "" || s.User != nil || s.Net != "none" || s.Limits != (runner.Limits{}) {
		return 0, errWhole
	}
	take := sync.OnceFunc(func() { signal.Notify(signals, container.Signals()...) })
	go take() // which takes threads, while the container is joined
	cmd := runner.Command{Argv: l.argv, Env: append(container.Env(), l.env...)}
	started := false
	st, err := runner.Exec(ctx, *target, cmd, runner.Options{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Signals: signals, WatchNet: true,
		Ready:   func() error { take(); return nil },
		Started: func(runner.Process) error { started = true; return nil }})
	if err != nil && started {
		return 0, &lateError{fmt.Errorf("exec %s: %w", l.name, err)}
	}
	if err != nil {
		return 0, errWhole
	}
	var lines []string
	if st.Outside && st.Signal == int(unix.SIGKILL) {
		lines = append(lines, container.KilledWith)
	}
	if st.TriedNet {
		lines = append(lines, container.TriedNet+container.AddNetToRun)
	}
	say(lines)
	return st.Code, nil
}

// target is a running container of the name, whose command has been executed.
func (l *line) target() (*runner.Target, error) {
	dir, err := openState()
	if err != nil {
		return nil, err
	}
	c, err := dir.Find(l.name)
	if err != nil {
		return nil, err
	}
	if !c.Running || c.Started.IsZero() || !c.Ended.IsZero() || c.BootID != state.BootID() {
		return nil, errWhole // which waits for one that begins
	}
	return &runner.Target{Process: runner.Process{PID: c.PID, StartTime: c.StartTime, PidfdInode: c.PidfdInode, Cgroups: c.Cgroups},
		Spec: c.Spec, Lock: filepath.Join(dir.Path, c.ID, "lock")}, nil
}
