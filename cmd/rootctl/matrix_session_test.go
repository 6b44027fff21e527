package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A session is rootctl on a terminal of its own, as a user's shell starts it.
type session struct {
	t             *testing.T
	cmd           *exec.Cmd
	master, slave *os.File
	before        *unix.Termios
	out           lines
}

func newSession(t *testing.T, c *exec.Cmd) *session {
	t.Helper()
	s := &session{t: t, cmd: c}
	s.master, s.slave = openPty(t, 77)
	s.before = s.settings()
	c.Stdin, c.Stdout, c.Stderr = s.slave, s.slave, s.slave
	c.Env = append(c.Env, "TERM=xterm")
	c.SysProcAttr.Setpgid, c.SysProcAttr.Setsid, c.SysProcAttr.Setctty = false, true, true
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(time.Minute, func() { c.Process.Kill() })
	t.Cleanup(func() {
		limit.Stop()
		c.Process.Kill()
		s.slave.Close()
		s.master.Close()
	})
	go io.Copy(&s.out, s.master)
	return s
}

func (s *session) settings() *unix.Termios {
	s.t.Helper()
	a, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

func (s *session) typed(text string) {
	s.t.Helper()
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) want(text string) {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); !s.out.has(text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("no %q in %q", text, &s.out)
		}
	}
}

// sleeper types a command that sleeps, and waits until it runs and has the terminal.
func (s *session) sleeper(command string) (word string) {
	s.t.Helper()
	word = fmt.Sprintf("1000.%d", time.Now().UnixNano())
	s.typed(command + "sleep " + word + "\r")
	awaited(s.t, "a command in the foreground", func() bool { return inForeground(word) })
	return word
}

// inForeground says whether a sleep of that length has the terminal, and sleeps.
func inForeground(word string) bool {
	pid := sleepOf(word)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest) // from field 3 on: state, parent, group, session, terminal, its foreground group
	return len(f) > 6 && f[0] == "S" && f[2] == f[5]
}

// sleepOf is the process number of a sleep of that length.
func sleepOf(word string) int {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, n := range names {
		if b, _ := os.ReadFile(n); string(b) == "sleep\x00"+word+"\x00" {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(n)))
			return pid
		}
	}
	return 0
}

// end waits for rootctl and wants the terminal as it was.
func (s *session) end(code int) {
	s.t.Helper()
	_ = s.cmd.Wait() // the exit code
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit code %d, not %d: %q", got, code, &s.out)
	}
	if after := s.settings(); *after != *s.before {
		s.t.Errorf("the terminal is %+v, was %+v", after, s.before)
	}
}

// testSessions are an interactive session and one whose command is killed, with run and with exec.
func (m *mode) testSessions(t *testing.T) {
	starts := map[string]func(t *testing.T, command ...string) *exec.Cmd{
		"run": func(_ *testing.T, command ...string) *exec.Cmd {
			return m.start(append([]string{"--env=PS1=in> ", "fixture"}, command...)...)
		},
		"exec": func(t *testing.T, command ...string) *exec.Cmd {
			name := fmt.Sprint("joined-", time.Now().UnixNano()) // the one before may be going yet
			m.ready(t, "--name", name, "fixture", "sh", "-c", "echo ready; while :; do sleep 100; done")
			m.joinable(t, name)
			return m.verb(append([]string{"exec", "--env=PS1=in> ", name}, command...)...)
		},
	}
	for verb, start := range starts {
		m.line(t, "session by "+verb, func(t *testing.T) {
			m.testSession(t, verb, newSession(t, start(t, "bash", "--norc", "-i")))
		})
		m.line(t, "terminal after SIGKILL of the command by "+verb, func(t *testing.T) {
			s := newSession(t, start(t, "bash", "--norc", "-i"))
			s.want("in> ")
			if err := unix.Kill(sleepOf(s.sleeper("exec ")), unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			s.end(137)
		})
	}
}

func (m *mode) testSession(t *testing.T, verb string, s *session) {
	step := func(name string, f func()) {
		if m.lines[name+" by "+verb] = true; !t.Failed() {
			t.Run(name, func(t *testing.T) { s.t = t; f() })
		}
	}
	step("prompt", func() {
		s.want("in> ")
		if a := s.settings(); a.Lflag&(unix.ECHO|unix.ICANON|unix.ISIG) != 0 {
			s.t.Error("the user's terminal is not raw")
		}
		s.typed("echo size$((1+1)) $LINES $COLUMNS; test -t 0 && readlink /proc/self/fd/0\r")
		s.want("size2 24 77\r\n/dev/pts/0\r\n")
	})
	step("resize", func() { // the kernel tells rootctl, whose terminal it is
		if err := unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 99}); err != nil {
			s.t.Fatal(err)
		}
		awaited(s.t, "the new size", func() bool {
			s.typed("echo size$((1+2)) $LINES $COLUMNS\r")
			time.Sleep(20 * time.Millisecond)
			return s.out.has("size3 44 99\r\n")
		})
	})
	step("Ctrl-C", func() {
		s.sleeper("")
		s.typed("\x03echo code$((1+3))-$?\r")
		s.want("code4-130\r\n")
	})
	step("Ctrl-Z and fg", func() {
		word := s.sleeper("")
		s.typed("\x1a")
		s.want("Stopped")
		s.typed("fg\r")
		awaited(s.t, "the command in the foreground again", func() bool { return inForeground(word) })
		s.typed("\x03echo code$((1+4))-$?\r")
		s.want("code5-130\r\n")
	})
	step("exit code of a session", func() {
		s.typed("exit 7\r")
		s.end(7)
	})
}
