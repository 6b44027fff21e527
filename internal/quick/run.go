package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// run is the whole program's run and runIn for a root that has the name itself and needs nothing done first.
func (l *line) run(ctx context.Context, signals chan os.Signal) (int, error) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" { // which Debian calls so, too
		return 0, errWhole
	}
	if _, err := os.Lstat("rootctl.toml"); !errors.Is(err, fs.ErrNotExist) { // its recipes may have the name
		return 0, errWhole
	}
	store, lease, err := l.lease(ctx)
	if err != nil {
		return 0, errWhole
	}
	defer lease.Close()
	take := sync.OnceFunc(func() { l.takeSignals(signals) })
	go take() // which takes threads, made while the copy is prepared
	c := &cell{store: store, lease: lease, keep: &runner.Keep{}}
	defer c.close()
	if c.claim(l) != nil {
		return 0, errWhole
	}
	started := false
	var notes []string // of a run that begins anew in the whole program, they would come twice
	st, err := runner.Run(ctx, c.spec, runner.Options{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Signals: signals, Keep: c.keep, WatchNet: true, Made: c.made,
		Ready: func() error { take(); return nil }, // when all are ours
		Note: func(s string) {
			if notes = append(notes, "note: "+s); started {
				notes = say(notes)
			}
		},
		Started: func(runner.Process) error {
			started, notes = true, say(notes)
			return c.started()
		}})
	if err == nil && c.record != nil {
		err = c.record.Remove()
		c.record = nil
	}
	if err != nil && started {
		return 0, &lateError{fmt.Errorf("run %s: %w", l.name, err)}
	}
	if err != nil {
		return 0, errWhole
	}
	var lines []string
	if st.Outside {
		lines = append(lines, container.Killed(st.Signal))
	}
	if st.TriedNet {
		lines = append(lines, container.TriedNet+container.AddNet)
	}
	if st.TimedOut {
		lines = append(lines, container.TimedOut)
	}
	say(lines)
	return st.Code, nil
}

// takeSignals has the container get the signals from now on.
func (l *line) takeSignals(signals chan os.Signal) {
	if l.inside == 0 {
		signal.Notify(signals, container.Signals()...)
		return
	}
	var s container.SignalSource
	s.Watch()
	s.Notify(signals, container.Signals()...)
}

// lease finds the root by the name alone.
func (l *line) lease(ctx context.Context) (*cache.Store, *cache.Lease, error) {
	dir := os.Getenv("ROOTCTL_CACHE")
	if dir == "" {
		dir = container.RootsCache
	}
	store, err := cache.Open(dir, cache.Options{Existing: true})
	if err != nil || store.ReadOnly() || store.Absent() {
		return nil, nil, errWhole
	}
	ref, err := store.Ref(l.name)
	if err != nil {
		return nil, nil, errWhole
	}
	var info struct {
		Arch       string `json:"arch"`
		Unverified bool   `json:"unverified"`
	}
	if json.Unmarshal(ref.Info, &info) != nil || info.Arch != runtime.GOARCH || info.Unverified {
		return nil, nil, errWhole
	}
	lease, err := store.Lease(ctx, ref.Root)
	if err != nil {
		return nil, nil, errWhole
	}
	fit, err := lease.Fit(false)
	if err != nil || fit != cache.FitWhole || lease.LockFile() == nil || l.inside == 0 && !runner.CanMapIDs(lease.Tree) || container.OddEtc(lease.Tree) {
		lease.Close()
		return nil, nil, errWhole
	}
	return store, lease, nil
}

// cell is a container and what it has claimed.
type cell struct {
	store  *cache.Store
	lease  *cache.Lease
	keep   *runner.Keep
	spec   runner.Spec
	record *state.Handle
	closes []func()
}

func (c *cell) close() {
	if c.record != nil {
		_ = c.record.Remove() // the next sweep does it
	}
	for _, f := range c.closes {
		f()
	}
}

// claim takes ids, a folder for the copy, the layer of /etc and a record.
func (c *cell) claim(l *line) error {
	c.spec = runner.Spec{Argv: l.argv, Env: append(container.Env(), l.env...), Net: "none", UserNS: "own", Hostname: container.Hostname, Umask: 0o022}
	c.keep.Locks = append(c.keep.Locks, c.lease.LockFile())
	if err := c.newRecord(l.name); err != nil {
		return err
	}
	if !l.inMemory {
		scratch, err := c.store.Scratch()
		if err != nil {
			return err
		}
		c.closes = append(c.closes, scratch.Close)
		c.spec.Work, c.spec.KeepWork = scratch.Path, true
		c.keep.Locks = append(c.keep.Locks, scratch.LockFile())
	}
	if l.inside != 0 {
		c.spec.Nested, c.spec.IDs = true, runner.IDRange{Size: l.inside}
	} else {
		ids, lock, err := runner.ClaimIDs(container.IDsDir)
		if err != nil {
			return err
		}
		c.closes = append(c.closes, func() { lock.Close() })
		c.spec.IDs, c.keep.Locks = ids, append(c.keep.Locks, lock)
	}
	etc, err := container.EtcLayer(c.store, &c.spec)
	if err != nil {
		return err
	}
	c.closes = append(c.closes, etc.Close)
	c.spec.Lower, c.spec.EtcBelow = []string{etc.Path, c.lease.Tree}, true
	c.keep.Locks = append(c.keep.Locks, etc.LockFile())
	return nil
}

// newRecord begins the container's record. Where none can be made the whole program decides whether it does without.
func (c *cell) newRecord(name string) error {
	dir, err := openState()
	if err == nil {
		err = dir.Sweep()
	}
	if err != nil {
		return err
	}
	c.record, err = dir.Create(&state.Container{Root: string(c.lease.Root), RootName: name, Created: time.Now(), Cache: c.store.Dir(), Monitor: os.Getpid()})
	if err != nil {
		c.record = nil
		return err
	}
	c.keep.Locks = append(c.keep.Locks, c.record.LockFile())
	c.keep.Remove = append(c.keep.Remove, c.record.Path)
	return nil
}

// made writes down the init before its command is executed.
func (c *cell) made(p runner.Process) error {
	c.record.Mark(p)
	c.record.MonitorStart, _ = state.StartTime(c.record.Monitor) // 0 matches no process
	c.record.Spec = c.spec
	_ = c.record.Save() // the run goes on without: another container's log may have filled the folder
	return nil
}

func (c *cell) started() error {
	c.record.Started = time.Now()
	_ = c.record.Save()
	return nil
}

// openState opens the records of root's containers.
func openState() (*state.Dir, error) {
	path := os.Getenv("ROOTCTL_STATE")
	if path == "" {
		path = container.RootsRecords
	}
	if _, err := state.Open(filepath.Dir(path)); err != nil {
		return nil, err
	}
	return state.Open(path)
}
