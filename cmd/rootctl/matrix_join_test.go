package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner/state"
)

// verb is a verb on containers of this mode.
func (m *mode) verb(args ...string) *exec.Cmd {
	c := m.command(args...)
	c.Env = append(c.Env, "ROOTCTL_STATE="+m.records)
	return c
}

// await waits for what takes milliseconds, or longer on a busy machine.
func awaited(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// ready starts a container and waits for a line of that word from it.
func (m *mode) ready(t *testing.T, args ...string) (*exec.Cmd, *lines) {
	t.Helper()
	c := m.start(args...)
	var errs lines
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	all := &lines{}
	first := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		first <- line
		_, _ = r.WriteTo(all)
	}()
	select {
	case line := <-first:
		if line != "ready\n" {
			t.Fatalf("%q: %s", line, &errs)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not begin: %s", &errs)
	}
	return c, all
}

// joinable waits until a container can be joined: its command may run a moment before its record says so.
func (m *mode) joinable(t *testing.T, name string) {
	t.Helper()
	awaited(t, "a container to join", func() bool {
		_, _, code := outcome(t, m.verb("exec", name, "true"))
		return code == 0
	})
}

// testJoin has commands join containers that end, or that try to get hold of them.
func (m *mode) testJoin(t *testing.T) {
	m.line(t, "exec racing exit", func(t *testing.T) {
		for i := range 4 {
			name := fmt.Sprint("racing-", time.Now().UnixNano())
			c, _ := m.ready(t, "--name", name, "fixture", "sh", "-c", fmt.Sprintf("echo ready; exec sleep 0.%02d", 4*i))
			for end := time.Now().Add(20 * time.Second); ; {
				_, errs, code := outcome(t, m.verb("exec", name, "sh", "-c", "exit 3"))
				if code == codeRunFailed && strings.Contains(errs, "rootctl: ") { // it is gone, or was going
					break
				}
				if code != 3 && code != 137 || time.Now().After(end) {
					t.Fatalf("exit code %d\n%s", code, errs)
				}
			}
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		}
	})
	for name, x := range map[string]struct {
		what    string
		command []string
		times   int
	}{
		"ptrace of a joining exec":        {"process", []string{"true"}, 15},
		"program of a joining exec":       {"program", []string{"/proc/self/exe", "version"}, 5},
		"interpreter from a joining exec": {"program", []string{"/interpreted", "version"}, 5},
	} {
		m.line(t, name, func(t *testing.T) {
			before, mode := sha256Of(t, m.probe), modeOf(t, m.probe)
			p := m.bindable(t, "interpreted", smallELF(64, "/proc/self/exe", []byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 5}))
			stalker := fmt.Sprint("stalker-", time.Now().UnixNano())
			c, out := m.ready(t, "--name", stalker, "--bind", m.probe+":/probe:ro", "--bind", p+":/interpreted:ro", "fixture", "/probe", probeName+"-stalk", x.what)
			m.joinable(t, stalker)
			for range x.times {
				j := m.verb(append([]string{"exec", stalker}, x.command...)...)
				limit := time.AfterFunc(20*time.Second, func() { j.Process.Kill() })
				_, errs, code := outcome(t, j)
				limit.Stop()
				if x.what == "process" && code != 0 || code == -1 {
					t.Errorf("exit code %d\n%s", code, errs)
				}
			}
			c.Process.Signal(unix.SIGTERM)
			c.Wait()
			if out.has("REACHED") {
				t.Error(out)
			}
			if sha256Of(t, m.probe) != before || modeOf(t, m.probe) != mode {
				t.Error("the program was changed")
			}
		})
	}
}

func modeOf(t *testing.T, file string) os.FileMode {
	t.Helper()
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode()
}

// probeStalk tries to get hold of every process that appears beside it: of the process before it has become the command
// ("process"), or of the program behind it, for writing.
func probeStalk(what string) {
	runtime.LockOSThread()
	fmt.Println("ready")
	for {
		names, _ := os.ReadDir("/proc")
		for _, n := range names {
			pid, err := strconv.Atoi(n.Name())
			if err != nil || pid == os.Getpid() {
				continue
			}
			exe := "/proc/" + n.Name() + "/exe"
			for _, flags := range []int{unix.O_WRONLY, unix.O_RDWR | unix.O_APPEND} {
				if fd, err := unix.Open(exe, flags, 0); err == nil {
					fmt.Println("REACHED: open for writing:", exe)
					unix.Close(fd)
				}
			}
			if !ofTheRoot(exe) {
				_ = unix.Chmod(exe, 0o711) // of a copy in memory this succeeds; the host's file must stay as it is
			}
			if what != "process" {
				continue
			}
			if err := unix.PtraceSeize(pid); err == nil && !ofTheRoot(exe) {
				link, _ := os.Readlink(exe)
				fmt.Println("REACHED: ptrace of", link)
			}
			if fd, err := unix.Open("/proc/"+n.Name()+"/mem", unix.O_RDWR, 0); err == nil {
				if !ofTheRoot(exe) {
					fmt.Println("REACHED: memory of", exe)
				}
				unix.Close(fd)
			}
		}
		for { // whom it traces does not end before it has seen that
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WALL, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}

// ofTheRoot says whether a process's program is a file of the container's, or the process is gone.
func ofTheRoot(exe string) bool {
	var a, b unix.Stat_t
	link, err := os.Readlink(exe)
	if err != nil || unix.Stat(exe, &a) != nil {
		return true
	}
	return unix.Stat(link, &b) == nil && a.Dev == b.Dev && a.Ino == b.Ino
}

// testRecords plays that the number of a container's init is another process's by now, and that the machine was booted anew.
func (m *mode) testRecords(t *testing.T) {
	for name, change := range map[string]func(r map[string]any, victim int, start uint64){
		"reuse of a process number": func(r map[string]any, victim int, _ uint64) { r["pid"], r["monitor"] = victim, victim },
		"boot since": func(r map[string]any, victim int, start uint64) {
			r["pid"], r["monitor"], r["start_time"], r["monitor_start"] = victim, victim, start, start
			r["boot_id"] = "00000000-0000-4000-8000-000000000000"
			delete(r, "pidfd_inode")
		},
	} {
		m.line(t, name, func(t *testing.T) { m.testRecord(t, change) })
	}
}

func (m *mode) testRecord(t *testing.T, change func(r map[string]any, victim int, start uint64)) {
	word := fmt.Sprintf("1000.%d", time.Now().UnixNano())
	start := m.start("-d", "fixture", "sleep", word)
	out, errs, code := outcome(t, start)
	if code != 0 {
		t.Fatalf("run -d: exit code %d\n%s", code, errs)
	}
	id := strings.TrimSpace(out)
	record, err := (&state.Dir{Path: m.records}).Find(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range append(childrenOf(record.Monitor), record.Monitor, record.PID) {
		_ = unix.Kill(pid, unix.SIGKILL) // the first may have taken others along
	}
	awaited(t, "the container has ended", func() bool { return !processWith(word) && !processAlive(record.Monitor) })

	victim := exec.Command("sleep", "100")
	victim.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: m.caller, Gid: m.caller}}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { victim.Process.Kill(); victim.Wait() }()
	began, err := state.StartTime(victim.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(m.records, id, "state.json")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	change(r, victim.Process.Pid, began)
	if b, err = json.Marshal(r); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := outcome(t, m.verb("ps", "-q")); code != 0 && code != codeUsage || strings.Contains(out, id) {
		t.Errorf("ps: exit code %d\n%s%s", code, out, errs)
	}
	if out, errs, code := outcome(t, m.verb("exec", id, "true")); code != codeRunFailed || !strings.Contains(errs, "rootctl: ") {
		t.Errorf("exec: exit code %d\n%s%s", code, out, errs)
	}
	for _, args := range [][]string{{"ps"}, {"stop", id}, {"kill", id}, {"rm", "-f", id}} {
		out, errs, code := outcome(t, m.verb(args...))
		if args[0] != "stop" && args[0] != "kill" && code != 0 {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out, errs)
		}
		if !processAlive(victim.Process.Pid) {
			t.Fatalf("%v killed another process", args)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(m.records, id)); len(left) != 0 {
		t.Errorf("the record is still there")
	}
}

// processAlive says whether a process runs; one that has ended and was not waited for does not.
func processAlive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}
