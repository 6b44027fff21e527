package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// openPty makes a pseudo-terminal of the given width.
func openPty(t *testing.T, columns uint16) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// onTerminal runs rootctl with a terminal of its own for all streams and returns what it painted.
func (f *fixture) onTerminal(t *testing.T, dir string, columns uint16, interrupt time.Duration, args ...string) (string, int) {
	t.Helper()
	master, slave := openPty(t, columns)
	defer master.Close()
	c := f.command(dir, args...)
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	if interrupt > 0 {
		time.AfterFunc(interrupt, func() { _, _ = master.WriteString("\x03") }) // the terminal turns it into INT
	}
	var out bytes.Buffer
	_, _ = io.Copy(&out, master) // EIO once the other end is closed
	_ = c.Wait()
	return out.String(), c.ProcessState.ExitCode()
}

// A build on a terminal paints a bar that fits, says the size before it starts, and clears up: on
// success, on a hit, on an error, and when it is interrupted.
func TestBuildOnTerminal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	unknown := append([]string{"build", "--include", "nosuchpackage"}, f.args[1:]...)
	for _, tt := range []struct {
		summary   string
		columns   uint16
		interrupt time.Duration
		args      []string
		code      int
		says      string
	}{
		{"narrow", 40, 0, f.args, 0, "downloading"},
		{"interrupted", 80, 500 * time.Millisecond, f.args, codeInterrupted, "interrupted"},
		{"hit", 80, 0, f.args, 0, "is cached"},
		{"error", 80, 0, unknown, codeNotFound, "nosuchpackage"},
		{"run", 80, 0, []string{"run", "fixture", "echo", "hello"}, 0, "hello"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			dir := dir
			if tt.interrupt > 0 {
				dir = filepath.Join(t.TempDir(), "cache")
				f.server.Fault(testarchive.Fault{Path: "dpkg_*.deb", StallAfter: 1000, Stall: -1}) // so that there is something to interrupt
				defer f.server.Reset()
			}
			out, code := f.onTerminal(t, dir, tt.columns, tt.interrupt, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.says) || strings.Contains(out, "panic") {
				t.Errorf("code %d, want %d with %q:\n%s", code, tt.code, tt.says, out)
			}
			for frame := range strings.SplitSeq(out, "\r") {
				if strings.Contains(frame, "% [") && len(frame) > int(tt.columns) {
					t.Errorf("wraps at %d columns: %q", tt.columns, frame)
				}
			}
		})
	}
}
