package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testEnds sees how containers end.
func (m *mode) testEnds(t *testing.T) {
	for _, x := range []struct {
		name string
		code int
		args []string
	}{
		{"exit code 0", 0, []string{"fixture", "true"}},
		{"exit code 7", 7, []string{"fixture", "sh", "-c", "exit 7"}},
		{"exit code 125", 125, []string{"--net=nowhere", "fixture", "true"}},
		{"exit code 126", 126, []string{"fixture", "/etc"}},
		{"exit code 127", 127, []string{"fixture", "no-such-program"}},
		{"exit code 137", 137, []string{"fixture", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"}},
		{"end of input", 0, []string{"fixture", "cat"}},
		{"100 MB through pipes", 0, []string{"fixture", "sh", "-c", "test $(head -c 100000000 /dev/zero | cat | wc -c) = 100000000"}},
		{"orphans", 0, []string{"fixture", "sh", "-c", "(sleep 50 &) ; exit 0"}},
	} {
		m.line(t, x.name, func(t *testing.T) {
			if out, errs, code := m.run(t, x.args...); code != x.code {
				t.Errorf("exit code %d, not %d\n%s%s", code, x.code, out, errs)
			} else if code == 125 && !strings.Contains(errs, "hint: ") {
				t.Errorf("no hint: %s", errs)
			}
		})
	}
	for _, x := range []struct {
		name, script string
		signal       unix.Signal
		code         int
	}{
		{"TERM with handler", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done", unix.SIGTERM, 5},
		{"TERM without handler", "echo ready; while :; do sleep 0.05; done", unix.SIGTERM, 143},
		{"INT with handler", "trap 'exit 6' INT; echo ready; while :; do sleep 0.05; done", unix.SIGINT, 6},
		{"INT without handler", "echo ready; while :; do sleep 0.05; done", unix.SIGINT, 130},
		{"SIGKILL of rootctl", "echo ready; while :; do sleep 0.05; done", unix.SIGKILL, -1},
	} {
		m.line(t, x.name, func(t *testing.T) { m.testSignal(t, x.script, x.signal, x.code) })
	}
}

func (m *mode) testSignal(t *testing.T, script string, sig unix.Signal, code int) {
	word := fmt.Sprintf("ends-%d", time.Now().UnixNano())
	c := m.start("fixture", "sh", "-c", script, word)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
	defer limit.Stop()
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("%q", line)
	}
	if err := c.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	// An error is the exit code, which comes below.
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != code && !(code > 128 && got == 137) {
		t.Errorf("exit code %d, not %d", got, code)
	}
	// The container is gone when nothing of it is left in the cache, and none of its processes.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left, err := filepath.Glob(filepath.Join(m.cache, "scratch", "*", "u"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 && !processWith(word) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %q", left)
		}
	}
}

// testSurroundings compares what a command starts with.
func (m *mode) testSurroundings(t *testing.T) {
	out := m.sh(t, `echo umask: $(umask); echo groups: $(id -G); echo HOME: $HOME; echo PATH: $PATH; echo TERM: $TERM; echo locale: $LANG
		echo PID 1: $$; echo processes: $(ls /proc | grep -c '^[0-9]'); echo host name: $(cat /proc/sys/kernel/hostname)
		echo network: $(grep -c : /proc/net/dev) $(grep -o 'lo:' /proc/net/dev); echo users: $(cut -c1-22 /proc/self/uid_map | head -n 1)
		echo terminal: $(ls /dev/console 2>&1 | grep -c 'No such'); echo folder: $(pwd)`)
	for name, want := range map[string]string{"umask": "0022", "HOME": "/root", "TERM": "", "locale": "C.UTF-8", "PID 1": "1", "host name": "rootctl",
		"network": "1 lo:", "terminal": "1", "folder": "/", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} {
		m.line(t, name, func(t *testing.T) {
			if !strings.Contains("\n"+out, "\n"+name+": "+want+"\n") && !(want == "" && strings.Contains("\n"+out, "\n"+name+":\n")) {
				t.Errorf("not %q:\n%s", want, out)
			}
		})
	}
	m.line(t, "groups", func(t *testing.T) {
		if !m.single && !strings.Contains(out, "groups: 0\n") { // who maps but one id keeps their groups
			t.Errorf("%s", out)
		}
	})
	m.line(t, "root inside", func(t *testing.T) {
		if !strings.Contains(out, "users: 0") {
			t.Errorf("%s", out)
		}
	})
}

// testCopy sees that copies are apart, and what can be kept from change.
func (m *mode) testCopy(t *testing.T) {
	m.line(t, "copy goes with the container", func(t *testing.T) {
		m.sh(t, "rm -r /usr/share; echo x > /new; cat /new; chown 0:0 /new")
		m.sh(t, "test -d /usr/share && test ! -e /new")
	})
	m.line(t, "read-only", func(t *testing.T) {
		out, _, code := m.run(t, "--read-only", "fixture", "sh", "-c", "(: > /etc/new) 2>/dev/null && exit 1; echo ok > /tmp/x && echo ok > /run/x && cat /tmp/x /run/x")
		if code != 0 || out != "ok\nok\n" {
			t.Errorf("exit code %d: %q", code, out)
		}
	})
	m.line(t, "tmpfs", func(t *testing.T) {
		out, errs, code := m.run(t, "--tmpfs", "/cache:size=1MB,mode=1770", "fixture", "sh", "-c", "stat -c %a /cache; head -c 2000000 /dev/zero > /cache/x || echo full")
		if code != 0 || out != "1770\nfull\n" {
			t.Errorf("exit code %d: %q %s", code, out, errs)
		}
	})
	m.line(t, "upper in memory", func(t *testing.T) {
		out, errs, code := m.run(t, "--upper=tmpfs:size=2MB", "fixture", "sh", "-c", "rm -r /usr/share && mkdir /usr/share && ls /usr/share; head -c 4000000 /dev/zero > /big || echo full")
		if code != 0 || out != "full\n" {
			t.Errorf("exit code %d: %q %s", code, out, errs)
		}
	})
	m.line(t, "bind belongs to its owner", func(t *testing.T) {
		dir, err := os.MkdirTemp(filepath.Dir(m.probe), "bound-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.Chown(dir, int(m.uid), int(m.uid)); err != nil {
			t.Fatal(err)
		}
		if _, errs, code := m.run(t, "--bind", dir+":/src", "fixture", "sh", "-c", "echo x > /src/made"); code != 0 {
			t.Fatalf("exit code %d\n%s", code, errs)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "made"), &st); err != nil || st.Uid != m.uid {
			t.Errorf("made by %d: %v", st.Uid, err)
		}
	})
}
