package runner

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// execConsole is a console with an exec into c on it.
func execConsole(t *testing.T, c *running, script string) *console {
	t.Helper()
	con := &console{t: t}
	con.master, con.slave = openTerminal(t)
	con.resize(33, 77)
	con.cmd = startHelper(t, job{Join: &c.Target, Spec: Spec{TTY: true, Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin", "PS1=> "}}},
		con.slave, con.slave, con.slave)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := con.master.Read(b)
			if err != nil {
				return
			}
			con.mu.Lock()
			con.out.Write(b[:n])
			con.mu.Unlock()
		}
	}()
	return con
}

// TestExecTerminal is a session of a user: prompt, size, Ctrl-C, Ctrl-Z and fg, exit code.
func TestExecTerminal(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	con := execConsole(t, c, "exec bash --norc -i")
	before := con.settings()
	con.want("> ")
	con.typed("stty size; readlink /proc/self/fd/0\r")
	con.want("33 77")
	con.want("/dev/pts/")
	con.resize(44, 99)
	if err := unix.Kill(con.cmd.Process.Pid, unix.SIGWINCH); err != nil { // as the kernel does for a foreground group
		t.Fatal(err)
	}
	con.sized("44 99")
	mark := sleeper()
	con.typed("sleep " + mark + "\r")
	sleeps(t, mark)
	con.typed("\x03")
	con.typed("echo code-$?\r")
	con.want("code-130")
	mark = sleeper()
	con.typed("sleep " + mark + "\r")
	sleeps(t, mark)
	con.typed("\x1a")
	con.want("Stopped")
	con.typed("fg\r")
	sleeps(t, mark)
	con.typed("\x03")
	con.typed("exit 9\r")
	if code := con.end(before); code != 9 {
		t.Errorf("code %d: %q", code, con.text())
	}
}

// TestExecTerminalAfterKill kills what was joined from the host: the user's terminal is put back.
func TestExecTerminalAfterKill(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	con := execConsole(t, c, "echo ready; exec sleep 98761")
	before := con.settings()
	con.want("ready")
	eventually(t, "the joined process is seen", func() bool { return len(sleeping(t, "98761")) == 1 })
	if err := unix.Kill(sleeping(t, "98761")[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := con.end(before); code != 137 {
		t.Errorf("code %d: %q", code, con.text())
	}
}

// sleeping finds the sleeps of a length, not the processes that were told of it.
func sleeping(t *testing.T, length string) []int {
	t.Helper()
	var list []int
	for _, pid := range processes(t, length) {
		if b, _ := os.ReadFile(procPath(pid, "cmdline")); string(b) == "sleep\x00"+length+"\x00" {
			list = append(list, pid)
		}
	}
	return list
}

// TestExecDiesWithRootctl: SIGKILL of the process that joined ends the command, also one that has become another user.
func TestExecDiesWithRootctl(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	for _, script := range []string{"exec sleep 98762", "exec setpriv --reuid 1000 --pdeathsig clear sleep 98762"} {
		b, err := json.Marshal(job{Join: &c.Target, Spec: Spec{Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), helperEnv+"="+string(b))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, script, func() bool { return len(sleeping(t, "98762")) == 1 })
		cmd.Process.Kill()
		cmd.Wait()
		eventually(t, "the command ends", func() bool { return len(sleeping(t, "98762")) == 0 })
	}
}

// TestExecHostileContainer: a container that tries to look into every process that appears finds none it may open
// before its command runs, and never the host's program.
func TestExecHostileContainer(t *testing.T) {
	for _, users := range []string{"own", "host"} {
		s := shell(t, `while :; do for p in /proc/[0-9]*; do [ $p = /proc/1 ] && continue
e=$(readlink $p/exe) && case $e in *runner.test*|*/x-exec/*|*go-build*) echo "exe $e" >>/caught;; esac
for f in $p/fd/*; do case $(readlink $f) in socket:*) echo "socket $f" >>/caught;; esac; done 2>/dev/null
done; done 2>/dev/null`)
		s.UserNS = users
		c := startContainer(t, s)
		for range 40 {
			if r := c.exec(t, script("exit 3")); r.failure != nil || r.status.Code != 3 {
				t.Fatalf("%+v %v", r.status, r.failure)
			}
		}
		if r := c.exec(t, script("cat /caught 2>/dev/null; echo end")); strings.TrimSpace(r.out) != "end" {
			t.Errorf("%s users: %s", users, r.out)
		}
		c.end()
	}
}
