package runner

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// console is a real terminal with the helper process on it, as a user's shell would start it.
type console struct {
	t      *testing.T
	master *os.File
	slave  *os.File
	cmd    *exec.Cmd

	mu  sync.Mutex
	out bytes.Buffer
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("needs a terminal: /dev/ptmx: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	peer, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", peer), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	master = os.NewFile(uintptr(fd), "terminal")
	t.Cleanup(func() { master.Close(); slave.Close() })
	return master, slave
}

// newConsole runs a script in a container with a terminal of 33 lines and 77 columns.
func newConsole(t *testing.T, script string) *console {
	t.Helper()
	root := sharedRoot(t)
	c := &console{t: t}
	c.master, c.slave = openTerminal(t)
	c.resize(33, 77)
	c.cmd = startHelper(t, job{Spec: Spec{Lower: []string{root}, TTY: true, Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin", "PS1=> "}}},
		c.slave, c.slave, c.slave)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := c.master.Read(b)
			if err != nil {
				return
			}
			c.mu.Lock()
			c.out.Write(b[:n])
			c.mu.Unlock()
		}
	}()
	return c
}

func (c *console) resize(rows, cols uint16) {
	c.t.Helper()
	if err := unix.IoctlSetWinsize(int(c.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

func (c *console) want(s string) {
	c.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(c.text(), s) {
			return
		}
	}
	c.t.Fatalf("no %q in %q", s, c.text())
}

// sized asks for the size until it is that.
func (c *console) sized(s string) {
	c.t.Helper()
	eventually(c.t, "size "+s, func() bool {
		c.typed("stty size\n")
		time.Sleep(20 * time.Millisecond)
		return strings.Contains(c.text(), s)
	})
}

func (c *console) typed(s string) {
	c.t.Helper()
	if _, err := c.master.WriteString(s); err != nil {
		c.t.Fatal(err)
	}
}

// end waits for the helper and checks that the terminal is as before.
func (c *console) end(before *unix.Termios) int {
	c.t.Helper()
	code := exitCode(c.cmd.Wait())
	after, err := unix.IoctlGetTermios(int(c.slave.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		c.t.Errorf("terminal not restored: %v %+v, before %+v", err, after, before)
	}
	return code
}

func (c *console) settings() *unix.Termios {
	c.t.Helper()
	s, err := unix.IoctlGetTermios(int(c.slave.Fd()), unix.TCGETS)
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

func TestTerminalSession(t *testing.T) {
	c := newConsole(t, "exec sh -i")
	c.want("> ")
	c.typed("tty=$(readlink /proc/self/fd/0); echo at $tty; test -c /dev/console && echo con''sole\n")
	c.want("at /dev/pts/0")
	c.want("console")
	c.typed("stty size\n")
	c.want("33 77")
	c.resize(40, 100)
	unix.Kill(c.cmd.Process.Pid, unix.SIGWINCH) // the helper has not this terminal as its controlling one
	c.sized("40 100")
	mark := sleeper()
	c.typed("sleep " + mark + "\n")
	sleeps(t, mark)
	c.typed("\x03")
	c.typed("echo after-$?\n")
	c.want("after-130")
	mark = sleeper()
	c.typed("sleep " + mark + "\n")
	sleeps(t, mark)
	c.typed("\x1a")
	c.typed("jobs; kill -9 %1; wait; echo stopped-$?\n")
	c.want("Stopped")
	c.want("stopped-")
	c.typed("exit 7\nexit 7\n") // the first only reports the job
	if code := c.cmd.Wait(); exitCode(code) != 7 {
		t.Errorf("code %v: %q", code, c.text())
	}
}

func TestTerminalIsRestored(t *testing.T) {
	for _, c := range []struct {
		summary, script string
		act             func(c *console)
		code            int
	}{
		{"exit", "echo ready; read x; exit 3", func(c *console) { c.typed("\n") }, 3},
		{"container killed", "echo ready; exec sleep 1000", func(c *console) {
			for _, p := range processes(c.t, "sleep\x001000\x00") {
				unix.Kill(p, unix.SIGKILL)
			}
		}, 137},
		{"TERM", "echo ready; exec sleep 1002", func(c *console) { c.cmd.Process.Signal(unix.SIGTERM) }, 143},
		{"key for end of file", "echo ready; cat; exit 4", func(c *console) { c.typed("\x04") }, 4},
		{"no such command", "echo ready; exec /nothing", func(*console) {}, 127},
	} {
		t.Run(c.summary, func(t *testing.T) {
			master, slave := openTerminal(t)
			defer master.Close()
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil {
				t.Skipf("needs a terminal: %v", err)
			}
			con := newConsole(t, c.script)
			con.want("ready\r\n")
			if raw := con.settings(); c.code != 127 && raw.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 {
				t.Error("terminal is not raw during the run")
			}
			c.act(con)
			if code := con.end(before); code != c.code {
				t.Errorf("code %d, want %d: %q", code, c.code, con.text())
			}
		})
	}
}

// TestTerminalOutputIsComplete: what is written just before the end arrives.
func TestTerminalOutputIsComplete(t *testing.T) {
	c := newConsole(t, "seq 1 20000; echo the end")
	if code := exitCode(c.cmd.Wait()); code != 0 {
		t.Errorf("code %d", code)
	}
	c.want("the end")
	if n := strings.Count(c.text(), "\n"); n != 20001 {
		t.Errorf("%d lines", n)
	}
}

// TestTerminalWithoutUsersTerminal: input from a pipe ends with the end-of-file key, output goes to a pipe.
func TestTerminalWithoutUsersTerminal(t *testing.T) {
	for in, want := range map[string]string{"": "", "one\ntwo\n": "one\r\ntwo\r\n", "half": "half"} {
		rd, wr, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		wr.WriteString(in)
		wr.Close()
		s := shell(t, "stty -echo; cat; echo; test -t 1 && echo tty")
		s.TTY = true
		r := try(t, s, Options{Stdin: rd})
		rd.Close()
		// What was typed before the echo was off is shown twice.
		if r.status.Code != 0 || !strings.HasSuffix(r.out, want+"\r\ntty\r\n") {
			t.Errorf("input %q: %+v", in, r)
		}
	}
}

// TestUsersTerminalIsNotShared: without a terminal of its own the container gets pipes instead of the user's.
func TestUsersTerminalIsNotShared(t *testing.T) {
	root := sharedRoot(t)
	master, slave := openTerminal(t)
	cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Argv: []string{"sh", "-c",
		"for f in 0 1 2; do test -t $f && echo shared; done; read x; echo got-$x; echo error >&2; exit 9"}, Env: []string{"PATH=/bin"}}},
		slave, slave, slave)
	if _, err := master.WriteString("line\n"); err != nil {
		t.Fatal(err)
	}
	if code := exitCode(cmd.Wait()); code != 9 {
		t.Errorf("code %d", code)
	}
	b, got := make([]byte, 4096), ""
	for !strings.Contains(got, "got-line") || !strings.Contains(got, "error") {
		n, err := master.Read(b)
		if err != nil {
			t.Fatalf("%q %v", got, err)
		}
		got += string(b[:n])
	}
	if strings.Contains(got, "shared") {
		t.Errorf("%q", got)
	}
	// What is typed afterwards is the user's shell's.
	if _, err := master.WriteString("next\n"); err != nil {
		t.Fatal(err)
	}
	if n, err := slave.Read(b); err != nil || string(b[:n]) != "next\n" {
		t.Errorf("%q %v", b[:n], err)
	}
}
