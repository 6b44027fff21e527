package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// joinable finds a running container by name or ID and says how to join it.
func (a *app) joinable(ctx context.Context, verb, name string) (*state.Container, *runner.Target, error) {
	dir, err := a.openState()
	if err != nil {
		return nil, nil, err
	}
	c, err := findStarted(ctx, dir, name, startPatience)
	if err != nil {
		return nil, nil, a.noContainer(verb, name, err)
	}
	if !c.Running || c.Started.IsZero() || c.BootID != state.BootID() {
		return nil, nil, withHint(&notFound{fmt.Errorf("%s %s: the container is not running", verb, name)}, "rootctl ps lists what runs")
	}
	t := &runner.Target{Process: runner.Process{PID: c.PID, StartTime: c.StartTime, PidfdInode: c.PidfdInode, Cgroups: c.Cgroups},
		Spec: c.Spec, Lock: filepath.Join(dir.Path, c.ID, "lock")}
	return c, t, nil
}

// startPatience is how long a verb that joins a container waits for its record to say that it runs.
const startPatience = 2 * time.Second

// findStarted finds a container. For one that is being started it waits, for at most patience: a command may have written
// its first line before its monitor records that it runs. It does not wait where the monitor is gone.
func findStarted(ctx context.Context, dir *state.Dir, name string, patience time.Duration) (*state.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		c, err := dir.Find(name)
		if err != nil || !c.Running || !c.Started.IsZero() || !c.Ended.IsZero() {
			return c, err
		}
		select {
		case <-ctx.Done():
			return c, nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// noContainer says what was meant, perhaps, by the name of a root.
func (a *app) noContainer(verb, name string, err error) error {
	err = fmt.Errorf("%s %s: %w", verb, name, err)
	if store, e := a.openAs(cache.Options{Existing: true}); e == nil && !store.Absent() {
		if _, e := a.lookUp(store, name); e == nil {
			return withHint(&flagError{err}, "%s is a root, of which a container is made by: rootctl run %s", name, name)
		}
	}
	return &notFound{err}
}

// reexecSealed replaces this process by the same program in sealed memory, unless it is that already. A process that
// joins a container shows there as this program for a moment, if it is told to execute /proc/self/exe; where root inside
// owns the file, it could then be written to.
func reexecSealed(argv []string) error {
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("seal the program: %w", err)
	}
	defer self.Close()
	if have, err := unix.FcntlInt(self.Fd(), unix.F_GET_SEALS, 0); err == nil && have&seals == seals {
		return nil
	}
	fd, err := unix.MemfdCreate("rootctl", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("seal the program: memfd_create: %w", err)
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Sendfile(fd, int(self.Fd()), nil, 1<<30)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("seal the program: sendfile: %w", err)
		}
		if n == 0 {
			break
		}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("seal the program: %w", err)
	}
	err = unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), argv, os.Environ())
	return errors.Join(errors.New("seal the program"), err)
}
