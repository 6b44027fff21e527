package runner

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// patience is how long a condition may take on a busy machine.
const patience = 20 * time.Second

// once does something as soon as a process whose command line holds a mark runs.
func once(t *testing.T, mark string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for end := time.Now().Add(patience); len(processes(t, mark)) == 0 && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		f()
	}()
	t.Cleanup(func() { <-done })
}

// statOf are the fields of /proc/PID/stat behind the name: state, parent, group, session, terminal, its foreground group, ...
func statOf(pid int) []string {
	b, _ := os.ReadFile(procPath(pid, "stat"))
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.Fields(rest)
}

// sleeps waits until a sleep of that length sleeps, and has its terminal if it has one.
func sleeps(t *testing.T, length string) int {
	t.Helper()
	pid := 0
	eventually(t, "a sleep of "+length, func() bool {
		return slices.ContainsFunc(sleeping(t, length), func(p int) bool {
			f := statOf(p)
			pid = p
			return len(f) > 6 && f[0] == "S" && (f[4] == "0" || f[2] == f[5])
		})
	})
	return pid
}

// waitedFor waits until the parent of a process is in wait(2): it has handlers, if any, by then.
func waitedFor(t *testing.T, pid int) {
	t.Helper()
	eventually(t, "its parent waits", func() bool {
		f := statOf(pid)
		if len(f) < 2 {
			return false
		}
		b, _ := os.ReadFile("/proc/" + f[1] + "/syscall")
		number, _, _ := strings.Cut(string(b), " ")
		return slices.Contains([]string{"61", "247", "260", "95"}, number) // wait4 and waitid of amd64 and arm64
	})
}
