package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// detach starts this program again as the container's monitor, in a session of its own:
//
//	this process                      monitor
//	------------                      -------
//	start ------------------------>   run as ever, output to the log
//	pass its stderr on <-----------   build, warnings, errors
//	print the line <---------------   ID, once the command has been executed
//	exit 0                            streams to /dev/null; wait for the end
//
// If it ends before there is a line, its exit code is this one's.
func (a *app) detach(ctx context.Context) error {
	release := a.catchSignals()
	defer release()
	out, theirOut, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	errs, theirErrs, err := os.Pipe()
	if err != nil {
		theirOut.Close()
		return err
	}
	defer errs.Close()
	c := &exec.Cmd{Path: "/proc/self/exe", Args: append([]string{"rootctl", "--monitor"}, a.argv...),
		Stdout: theirOut, Stderr: theirErrs, SysProcAttr: &syscall.SysProcAttr{Setsid: true}}
	if err = keepFiles(); err == nil {
		err = c.Start()
	}
	theirOut.Close()
	theirErrs.Close()
	if err != nil {
		return fmt.Errorf("start the monitor: %w", err)
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(a.stderr, errs) // ends with the monitor, or at the deadline
	}()
	told := make(chan struct{})
	defer close(told)
	go func() {
		select {
		case <-ctx.Done():
			_ = c.Process.Signal(unix.SIGTERM) // fails only if it has ended
		case <-told:
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		_ = errs.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		<-copied
		_, err = io.WriteString(a.stdout, line)
		return err
	}
	<-copied
	_ = c.Wait() // the state has the code
	a.exit = c.ProcessState.ExitCode()
	if a.exit <= 0 {
		a.exit = codeRunFailed
		a.warn("the container's monitor ended before the command was started")
	}
	return nil
}

// keepFiles has programs that this one starts inherit no file but those that they are given: what the caller left open, a
// lock perhaps, would else be held for as long as the container runs. Linux has a call for it from 5.11 on.
func keepFiles() error {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return nil
	}
	entries, err := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return err
}
