package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/internal/runner/state"
)

// usualGrace is what a container is given between a stop signal and KILL.
const usualGrace = 10 * time.Second

// maxGrace bounds what a container is given between a stop signal and KILL, in seconds: a year.
const maxGrace = 365 * 24 * 3600

func newStopCommand(a *app) *cobra.Command {
	var grace int
	c := &cobra.Command{
		Use:     "stop CONTAINER...",
		Short:   "end containers: TERM, then KILL",
		Long:    "stop sends TERM to the command, and KILL after a time, or at once if the command has no handler for TERM.",
		Example: "  rootctl stop web\n  rootctl stop -t 60 web db",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			if grace < 0 || grace > maxGrace {
				return withHint(&flagError{fmt.Errorf("--time %d is no time in seconds", grace)}, "rootctl stop -t 30 %s", names[0])
			}
			return a.eachAtOnce("stop", names, func(d *state.Dir, c *state.Container) error {
				return stopContainer(d, c, time.Duration(grace)*time.Second)
			})
		},
	}
	c.Flags().IntVarP(&grace, "time", "t", int(usualGrace.Seconds()), "`seconds` until KILL")
	return c
}

// stopContainer has the monitor stop its container, and does it itself when the time is up.
func stopContainer(d *state.Dir, c *state.Container, grace time.Duration) error {
	if !c.Running {
		return nil
	}
	if grace > 0 {
		file := filepath.Join(d.Path, c.ID, graceFile)
		// Without the file the monitor gives usualGrace: no reason to let a container run whose log has filled the folder.
		err := os.WriteFile(file, []byte(strconv.Itoa(int(grace.Seconds()))), 0o600)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && grace > usualGrace {
			return withHint(err, "rootctl stop %s gives it %v; or free some space there first", c.ID, usualGrace)
		}
		if fd, err := c.OpenMonitor(); err == nil {
			_ = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0) // else its keeper is at it already
			unix.Close(fd)
		}
		ended := make(chan error, 1)
		go func() { ended <- await(d, c.ID) }()
		select {
		case err := <-ended:
			return err
		case <-time.After(grace):
		}
	}
	if err := signalInit(c, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return await(d, c.ID)
}

// await waits for the end of a container, also of one whose record goes with it.
func await(d *state.Dir, id string) error {
	if _, err := d.Await(id); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func signalInit(c *state.Container, sig syscall.Signal) error {
	fd, err := c.Init()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if c.Spec.ChrootOf() != "" && sig == unix.SIGKILL { // its init would leave the others behind
		runner.EndBelow(c.PID)
		return nil
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

func newKillCommand(a *app) *cobra.Command {
	var name string
	c := &cobra.Command{
		Use:     "kill CONTAINER...",
		Short:   "send a signal to the command of containers",
		Example: "  rootctl kill web\n  rootctl kill -s HUP web",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			sig, ok := parseSignal(name)
			if !ok {
				return withHint(&flagError{fmt.Errorf("unknown signal %q", name)}, "a name like TERM or a number; see kill -l")
			}
			return a.each("kill", names, func(_ *state.Dir, c *state.Container) error {
				if !c.Running {
					return withHint(errors.New("it does not run"), "rootctl ps -a")
				}
				return signalInit(c, sig)
			})
		},
	}
	c.Flags().StringVarP(&name, "signal", "s", "KILL", "`signal` by name or number")
	return c
}

func parseSignal(s string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return syscall.Signal(n), n > 0 && n <= 64
	}
	n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG"))
	return n, n != 0
}

func newWaitCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "wait CONTAINER...",
		Short:   "wait for the end of containers and print their exit codes",
		Example: "  rootctl wait web",
		Args:    args(cobra.MinimumNArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			return a.each("wait", names, func(d *state.Dir, c *state.Container) error {
				c, err := d.Await(c.ID)
				switch {
				case errors.Is(err, fs.ErrNotExist):
					return withHint(errors.New("it has ended, and its record with it"), "start it with --keep or -d to have its exit code")
				case err != nil:
					return err
				case c.Status == nil:
					return errors.New("its monitor was killed: the exit code is not known")
				}
				_, err = fmt.Fprintln(a.stdout, c.Status.Code)
				return err
			})
		},
	}
}

func newLogsCommand(a *app) *cobra.Command {
	var follow bool
	c := &cobra.Command{
		Use:     "logs CONTAINER",
		Short:   "print what a detached container has written",
		Example: "  rootctl logs web\n  rootctl logs -f web",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, names []string) error {
			return a.each("logs", names, func(d *state.Dir, c *state.Container) error {
				f, err := os.OpenFile(filepath.Join(d.Path, c.ID, "log"), os.O_RDONLY|unix.O_NOFOLLOW, 0)
				if errors.Is(err, fs.ErrNotExist) {
					return withHint(errors.New("it has no log"), "what runs in the foreground writes to its terminal; run -d makes a log")
				}
				if err != nil {
					return err
				}
				defer f.Close()
				for follow && alive(d, c.ID) {
					if _, err := io.Copy(a.stdout, f); err != nil {
						return err
					}
					time.Sleep(50 * time.Millisecond)
				}
				_, err = io.Copy(a.stdout, f)
				return err
			})
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the container ends")
	return c
}

func alive(d *state.Dir, id string) bool {
	c, err := d.Find(id)
	return err == nil && c.Running
}

func newRmCommand(a *app) *cobra.Command {
	var force, all, stopped bool
	c := &cobra.Command{
		Use:     "rm [CONTAINER...]",
		Short:   "remove containers: record, log and copy",
		Example: "  rootctl rm web\n  rootctl rm -f --all\n  rootctl rm --stopped",
		RunE: func(c *cobra.Command, names []string) error {
			if (len(names) > 0) == (all || stopped) {
				return withHint(&flagError{errors.New("rm: give containers, or --all, or --stopped")}, "rootctl rm CONTAINER, or rootctl rm --stopped")
			}
			return a.remove(c.Context(), names, force, all && !stopped)
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "also those that run: they are killed")
	c.Flags().BoolVar(&all, "all", false, "all containers")
	c.Flags().BoolVar(&stopped, "stopped", false, "all that have ended")
	return c
}

// remove ends containers, then removes them. An ordinary user's copies have files of other ids, which only a process in
// a user namespace can remove; the ending is done outside of it, from where all of its processes can be killed.
func (a *app) remove(ctx context.Context, names []string, force, running bool) error {
	dir, err := a.openState()
	if err != nil {
		return err
	}
	if err := dir.Sweep(); err != nil {
		return err
	}
	a.tidyNet()
	each := a.each
	if len(names) == 0 {
		each = a.eachLeft
		a.adopt(dir)
		list, err := dir.List()
		if err != nil {
			return err
		}
		for _, c := range list {
			if running || !c.Running {
				names = append(names, c.ID)
			}
		}
	}
	if force {
		if err := each("rm", names, func(d *state.Dir, c *state.Container) error { return stopContainer(d, c, 0) }); err != nil {
			return err
		}
	}
	if done, err := a.enterAgain(); done || err != nil {
		return err
	}
	return each("rm", names, func(d *state.Dir, c *state.Container) error {
		if c.Running {
			return withHint(errors.New("it is running"), "rootctl stop %s, or rootctl rm -f %s", c.ID, c.ID)
		}
		if c.Copy != "" {
			store, err := cache.Open(c.Cache, cache.Options{Existing: true, Log: a.log(), Now: a.now})
			if err == nil && !store.Absent() {
				err = store.Discard(c.Copy)
			}
			if err != nil {
				return keptError(err)
			}
		}
		return d.Remove(c.ID)
	})
}
