package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
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
	err = c.Start()
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
