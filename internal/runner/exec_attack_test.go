package runner

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// traceEnv makes the test binary, as the init of a container, trace and open whatever appears beside it.
const traceEnv = "RUNNER_TEST_TRACE"

// traceAttack writes to /tmp/caught what it got of a process that still is the host's program, which is this one's, too.
func traceAttack() int {
	runtime.LockOSThread() // a tracer is a thread
	var own unix.Stat_t
	caught, err := os.Create("/tmp/caught")
	if err != nil || unix.Stat("/proc/self/exe", &own) != nil {
		return 1
	}
	attempts := 0
	for {
		names, err := os.ReadDir("/proc")
		if err != nil {
			return 1
		}
		for _, n := range names {
			pid, err := strconv.Atoi(n.Name())
			if err != nil || pid == 1 {
				continue
			}
			hosts := func() bool {
				var st unix.Stat_t
				return unix.Stat(procPath(pid, "exe"), &st) == nil && st.Ino == own.Ino && st.Dev == own.Dev
			}
			if hosts() {
				fmt.Fprintln(caught, "REACHED its program")
			}
			if f, err := os.OpenFile(procPath(pid, "mem"), os.O_RDWR, 0); err == nil {
				if hosts() {
					fmt.Fprintln(caught, "REACHED its memory")
				}
				f.Close()
			}
			if attempts++; attempts%100 == 0 {
				fmt.Fprintln(caught, "tried", attempts)
			}
			if unix.PtraceSeize(pid) != nil { // unlike PTRACE_ATTACH it leaves no SIGSTOP behind
				continue
			}
			if hosts() {
				fmt.Fprintln(caught, "REACHED by ptrace")
			}
			_ = unix.PtraceInterrupt(pid)
			_, _ = unix.Wait4(pid, nil, unix.WALL, nil)
			_ = unix.PtraceDetach(pid) // fails if it has ended
		}
	}
}

// TestExecTraced has 50 commands join a container that traces all that appears in it. It gets hold of no process before
// that has become the command, and none hangs. Its search path makes each take long to be executed.
func TestExecTraced(t *testing.T) {
	needRoot(t)
	for _, x := range []struct {
		users, weak string
	}{{"own", ""}, {"host", ""}, {"host", "undumpable"}} {
		t.Run(x.users+" users, without "+x.weak, func(t *testing.T) {
			// Tests before this one change the ids of threads, which makes this process undumpable, and so what it forks.
			if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
				t.Fatal(err)
			}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			s := shell(t, "")
			s.UserNS, s.Argv, s.Binds = x.users, []string{"/probe"}, []Bind{{Src: self, Dst: "/probe", ReadOnly: true}}
			s.Env = append(s.Env, traceEnv+"=1")
			c := startContainer(t, s)
			path := "PATH=" + strings.Repeat("/a:", 5000) + "/bin"
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					for range 10 {
						start := time.Now()
						ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
						st, err := Exec(ctx, c.Target, Command{Argv: []string{"sh", "-c", "exit 3"}, Env: []string{path}}, Options{weak: weakenings()[x.weak]})
						cancel()
						if err != nil || st.Code != 3 {
							t.Errorf("after %v: %+v, %v", time.Since(start), st, err)
						}
					}
				})
			}
			wg.Wait()
			out := c.exec(t, Command{Argv: []string{"cat", "/tmp/caught"}}).out
			if reached := strings.Contains(out, "REACHED"); reached != (x.weak != "") || !strings.Contains(out, "tried") {
				t.Errorf("reached: %v\n%.500s", reached, out)
			}
		})
	}
}
