package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testRefused sees that what a mode cannot do is refused, with what to do instead.
func (m *mode) testRefused(t *testing.T) {
	host := len(m.flags) > 0
	rootless := !m.claimed && !host
	for _, x := range []struct {
		name   string
		in     bool // whether the mode cannot
		args   []string
		reason string
	}{
		{"user that no id is mapped for", m.single, []string{"--user", "1000", "fixture", "true"}, ""},
		{"user beyond the range", rootless && !m.single || m.claimed, []string{"--user", "3000000000", "fixture", "true"}, ""},
		{"every capability with the host's users", host, []string{"--privileged", "fixture", "true"}, "--userns=host"},
		{"mounts by hand with the host's users", host, []string{"--bare", "fixture", "true"}, "--userns=host"},
		{"published port without a network", true, []string{"--publish", "8080:80", "fixture", "true"}, ""},
		{"kept copy in memory", true, []string{"--keep", "--upper=tmpfs", "fixture", "true"}, "--upper=tmpfs"},
		{"unknown capability", true, []string{"--cap-add", "NO_SUCH", "fixture", "true"}, ""},
		{"bind of what is not there", true, []string{"--bind", "/no/such/folder", "fixture", "true"}, ""},
		{"tmpfs on the root", true, []string{"--tmpfs", "/", "fixture", "true"}, ""},
		{"root that is not there", true, []string{"no-such-root", "true"}, ""},
	} {
		if !x.in {
			continue
		}
		m.line(t, "refused: "+x.name, func(t *testing.T) {
			out, errs, code := m.run(t, x.args...)
			if code != codeRunFailed || !strings.Contains(errs, "hint: ") || !strings.Contains(errs, x.reason) {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}

// testPrograms runs what leads to rootctl's own program, and looks whether it is as it was.
func (m *mode) testPrograms(t *testing.T) {
	program := m.probe
	if file := os.Getenv(programEnv); file != "" {
		program = file
	}
	before := sha256Of(t, program)
	for _, x := range []struct {
		name string
		args []string
	}{
		{"command is /proc/self/exe", []string{"fixture", "/proc/self/exe", "true"}},
		{"command is a link to it", []string{"links-as-programs", "/evil-cmd", "true"}},
		{"folder is a link into /proc", []string{"--workdir", "/evil-dir", "links-as-programs", "/evil-cmd", "true"}},
		{"command begins with #!/proc/self/exe", []string{"fixture", "sh", "-c", "printf '#!/proc/self/exe\\n' > /x; chmod 755 /x; /x; (: >> /proc/self/exe) 2>&-; (: >> /proc/1/exe) 2>&-; exit 125"}},
	} {
		m.line(t, x.name, func(t *testing.T) {
			if out, errs, code := m.run(t, x.args...); code == 0 { // it may be rootctl inside, which is of no use there
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
			if sha256Of(t, program) != before {
				t.Fatal("the program was changed")
			}
		})
	}
}

func sha256Of(t *testing.T, file string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// testMany has 60 containers at once see their own files and processes only.
func (m *mode) testMany(t *testing.T) {
	const many = 60
	var wg sync.WaitGroup
	bad := make(chan string, many)
	for n := range many {
		wg.Go(func() {
			var out, errs bytes.Buffer
			c := m.start("fixture", "sh", "-c", fmt.Sprintf("test ! -e /made && echo %d > /made && echo $(cat /made) $$ $(ls -d /proc/[0-9]* | wc -l)", n))
			c.Stdout, c.Stderr = &out, &errs
			// The shell, ls and wc, or fewer.
			var made, pid, processes int
			err := c.Run()
			if _, serr := fmt.Sscan(out.String(), &made, &pid, &processes); err != nil || serr != nil || made != n || pid != 1 || processes > 4 && !m.outer {
				bad <- fmt.Sprintf("%d: %v: %s%s", n, err, &out, &errs)
			}
		})
	}
	wg.Wait()
	close(bad)
	for b := range bad {
		t.Error(b)
	}
}

// testFromOutside kills the command by its process id on the host.
func (m *mode) testFromOutside(t *testing.T) {
	var errs bytes.Buffer
	c := m.start("--name", "outside", "fixture", "sh", "-c", "while :; do sleep 0.05; done")
	c.Stderr = &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(20*time.Second, func() { c.Process.Kill() }).Stop()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		out, _, _ := outcome(t, m.verb("ps", "--json"))
		var rows []psRow
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if len(rows) == 1 && rows[0].PID > 1 {
			if err := unix.Kill(rows[0].PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	_ = c.Wait() // the exit code
	if code := c.ProcessState.ExitCode(); code != 137 || !strings.Contains(errs.String(), "killed from outside (signal 9)") {
		t.Errorf("exit code %d: %s", code, &errs)
	}
}

// testOutlives has a process that changed its user and cleared its parent-death signal outlive rootctl, which it must not.
func (m *mode) testOutlives(t *testing.T) {
	word := fmt.Sprintf("outlives-%d-%d", os.Getpid(), time.Now().UnixNano())
	var out lines
	c := m.start("--bind", m.probe+":/probe:ro", "fixture", "sh", "-c", "/probe "+probeName+"-away "+word+" & wait")
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	awaited(t, "the process begins", func() bool { return out.has("away") && processWith(word) })
	_ = c.Process.Kill()
	_ = c.Wait()
	awaited(t, "the process ends with rootctl", func() bool { return !processWith(word) })
}

// probeAway is such a process.
func probeAway() {
	_ = unix.Setresuid(1000, 1000, 1000) // not with a single id
	_ = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	fmt.Println("away")
	time.Sleep(time.Minute)
}

// lines is an output that can be looked at while it grows.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) has(s string) bool {
	return strings.Contains(l.String(), s)
}

// processWith says whether a process of the host has an argument.
func processWith(word string) bool {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			continue // it has ended
		}
		for arg := range bytes.SplitSeq(b, []byte{0}) {
			if string(arg) == word {
				return true
			}
		}
	}
	return false
}

// testSetuid makes a set-user-id file on a bind: nobody inside gains by it.
func (m *mode) testSetuid(t *testing.T) {
	dir, err := os.MkdirTemp(filepath.Dir(m.probe), "bound-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chown(dir, int(m.uid), int(m.uid)); err != nil {
		t.Fatal(err)
	}
	out, errs, code := m.run(t, "--bind", dir+":/src", "--bind", m.probe+":/probe:ro", "fixture", "sh", "-c",
		"cp /probe /src/suid; chmod 4755 /src/suid; grep ' /src ' /proc/mounts")
	if code != 0 || !strings.Contains(out, "nosuid") || !strings.Contains(out, "nodev") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "suid"), &st); err != nil || st.Uid != m.uid {
		t.Errorf("on the host it is %d's: %v", st.Uid, err)
	}
}
