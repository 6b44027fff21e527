package runner

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestInSet(t *testing.T) {
	status := []byte("Name:\tx\nSigBlk:\t0000000000000400\nSigIgn:\t0000000000000000\nSigCgt:\t0000000000004002\nCapInh:\t0\n")
	for sig, want := range map[unix.Signal]bool{unix.SIGINT: true, unix.SIGTERM: true, unix.SIGHUP: false, unix.SIGUSR1: false} {
		if inSet(status, "SigCgt", sig) != want {
			t.Errorf("%v: %v", sig, !want)
		}
	}
	if !inSet(status, "SigBlk", unix.SIGSEGV) || inSet(status, "SigIgn", unix.SIGTERM) {
		t.Error("not the line that was asked for")
	}
	for _, bad := range []string{"", "\nSigCgt:", "\nSigCgt:\tzz\n"} {
		if inSet([]byte(bad), "SigCgt", unix.SIGTERM) {
			t.Errorf("caught in %q", bad)
		}
	}
}

func TestReactionOf(t *testing.T) {
	for arg, want := range map[string]reaction{"--default-signal": byDefault, "--ignore-signal=TERM": ignores, "--block-signal=TERM": takes} {
		cmd := exec.Command("env", arg, "sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, arg, func() bool { return reactionOf(cmd.Process.Pid, unix.SIGTERM) == want })
		cmd.Process.Kill()
		cmd.Wait()
		if cmd.ProcessState.ExitCode() >= 0 {
			t.Skipf("needs an env with %s", arg)
		}
	}
}

// makefile runs a recipe under make as the init.
const makefile = `printf 'all:\n\t@%s\n' "$1" > /tmp/Makefile; exec make -s -C /tmp MARK=$0 2>/dev/null`

// TestStopWithChildren: an init that waits for its child, or sends the signal to itself, ends as any process would.
func TestStopWithChildren(t *testing.T) {
	root := sharedRoot(t)
	for _, c := range []struct {
		summary string
		argv    []string // the mark follows
		recipe  string
		signals []unix.Signal
		code    int // 0 means by the signal
		out     string
	}{
		{"dash", []string{"sh", "-c", "sleep $0; echo after"}, "", []unix.Signal{unix.SIGINT, unix.SIGTERM}, 0, ""},
		{"bash", []string{"bash", "-c", "sleep $0; sleep 100; echo after"}, "", []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}, 0, ""},
		{"bash, last command", []string{"bash", "-c", "sleep $0; true"}, "", []unix.Signal{unix.SIGINT, unix.SIGTERM}, 0, ""},
		{"bash with an exit trap", []string{"bash", "-c", "trap 'echo bye' EXIT; sleep $0; sleep 100"}, "", []unix.Signal{unix.SIGINT, unix.SIGTERM}, 0, "bye\n"},
		// make goes on when its signal to itself is dropped, and says in its own way that the recipe was interrupted.
		{"make", []string{"sh", "-c", makefile}, "sleep $(MARK)", []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP}, 2, ""},
		{"make, slow child", []string{"sh", "-c", makefile}, `trap "sleep 0.5; echo clean; exit 1" INT; sleep $(MARK); :`, []unix.Signal{unix.SIGINT}, 2, "clean\n"},
		{"trap", []string{"sh", "-c", "trap 'echo bye; exit 5' TERM; sleep $0; echo after"}, "", []unix.Signal{unix.SIGTERM}, 5, "bye\n"},
		{"trap with exec", []string{"sh", "-c", `trap 'exec sh -c "sleep 0.5; echo bye; exit 4"' INT; sleep $0; echo after`}, "", []unix.Signal{unix.SIGINT}, 4, "bye\n"},
	} {
		for _, sig := range c.signals {
			t.Run(c.summary+" "+sig.String(), func(t *testing.T) {
				if _, err := exec.LookPath(c.argv[0]); err != nil || c.recipe != "" && !exists(root+"/bin/make") {
					t.Skipf("needs %s on this machine", c.summary)
				}
				t.Parallel()
				mark := sleeper()
				var out bytes.Buffer
				argv := append(append([]string{}, c.argv...), mark, c.recipe)
				cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Argv: argv, Env: []string{"PATH=/bin"}}}, nil, &out, os.Stderr)
				waitedFor(t, started(t, "sleep\x00"+mark)) // bash sets its own handler after the child has started
				start, want := time.Now(), c.code
				if want == 0 {
					want = 128 + int(sig)
				}
				cmd.Process.Signal(sig)
				if code := exitCode(cmd.Wait()); code != want || out.String() != c.out {
					t.Errorf("code %d, want %d, output %q", code, want, &out)
				}
				if d := time.Since(start); d > 9*time.Second { // not the ten seconds of patience with a command
					t.Errorf("took %v", d)
				}
			})
		}
	}
}

// TestTerminalKeys: Ctrl-C and Ctrl-\ end an init that does nothing about them, and only such a one.
func TestTerminalKeys(t *testing.T) {
	for _, c := range []struct {
		summary, script string
		keys            string
		code            int
	}{
		{"INT without handler", "echo ready; exec sleep 1003", "\x03", 130},
		{"QUIT without handler", "echo ready; exec sleep 1004", "\x1c", 131},
		{"among other keys", "echo ready; exec sleep 1005", "abc\x03def", 130},
		{"another key", "stty intr ^B; echo ready; exec sleep 1006", "\x02", 130},
		{"dash with a child", "echo ready; sleep 1007; sleep 1007", "\x03", 130},
		{"bash with a child", "exec bash -c 'echo ready; sleep 1008; sleep 1008'", "\x03", 130},
		{"key is another one", "stty intr ^B; echo ready; read x; exit 3", "\x03\n", 3},
		{"key is off", "stty intr undef; echo ready; read x; exit 3", "\x03\n", 3},
		{"no signals from keys", "stty -isig; echo ready; sleep 0.4; read x; exit 3", "\x03\n", 3},
		{"ignored", "trap '' INT; echo ready; sleep 0.4; exit 3", "\x03", 3},
		{"handler", "trap 'exit 4' INT; echo ready; sleep 1009; exit 3", "\x03", 4},
		{"handler and on", "trap : INT; echo ready; sleep 0.1; sleep 0.4; exit 3", "\x03", 3},
		{"handler, then execve", "trap : INT; echo ready; sleep 1010; exec sleep 0.4", "\x03", 0},
		{"no such key", "echo ready; sleep 0.4; exit 3", "\x04x\n", 3},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			con := newConsole(t, c.script)
			con.want("ready\r\n")
			if _, length, sleep := strings.Cut(c.script, "sleep 10"); sleep {
				pid := sleeps(t, "10"+length[:2])
				if !strings.Contains(c.script, "exec sleep 10") {
					waitedFor(t, pid)
				}
			}
			start := time.Now()
			con.typed(c.keys)
			if code := exitCode(con.cmd.Wait()); code != c.code {
				t.Errorf("code %d, want %d: %q", code, c.code, con.text())
			}
			if d := time.Since(start); d > 9*time.Second { // not the ten seconds of patience with a command
				t.Errorf("took %v", d)
			}
		})
	}
}

// TestTerminalKeysInASession: job control keeps Ctrl-C to the job, and at the prompt it only ends the line.
func TestTerminalKeysInASession(t *testing.T) {
	c := newConsole(t, "exec bash --norc -i")
	c.want("> ")
	mark := sleeper()
	c.typed("sleep " + mark + "\n")
	sleeps(t, mark)
	c.typed("\x03")
	c.typed("echo after-$?\n")
	c.want("after-130")
	c.typed("some\x03")
	eventually(t, "a new prompt", func() bool { return strings.HasSuffix(c.text(), "^C\r\n> ") })
	c.typed("exec sleep 0.5\n") // has no handlers, but is not what the key was meant for
	if code := exitCode(c.cmd.Wait()); code != 0 {
		t.Errorf("code %d: %q", code, c.text())
	}
}
