package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// testGain has a program that is set-user-id root, made inside.
func (m *mode) testGain(t *testing.T) {
	c, out := m.ready(t, "--bind", m.probe+":/probe:ro", "fixture", "/probe", probeName+"-gain")
	m.line(t, "set-user-id inside", func(t *testing.T) {
		// Root inside, which is an ordinary id of the host; with a single id it never was another user.
		want := "became 0\n"
		if len(m.flags) > 0 {
			want = "became 1000\n" // no_new_privs
		}
		awaited(t, "the attempt", func() bool { return out.has("\n") })
		if out.String() != want {
			t.Errorf("%q, not %q", out, want)
		}
	})
	m.line(t, "set-user-id from outside", func(t *testing.T) {
		found, _ := filepath.Glob(filepath.Join(m.cache, "scratch", "*", "u", "suid"))
		if len(found) != 1 {
			t.Fatalf("%q", found)
		}
		c := exec.Command(found[0], probeName+"-euid")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := c.CombinedOutput(); !os.IsPermission(err) {
			t.Errorf("another user executes it: %v: %s", err, out)
		}
	})
	c.Process.Signal(unix.SIGKILL)
	c.Wait()
}

// probeGain makes the program, and executes it as another user.
func probeGain() {
	b, err := os.ReadFile("/probe")
	if err == nil {
		err = errors.Join(os.WriteFile("/suid", b, 0o755), unix.Chmod("/suid", 0o4755))
	}
	fmt.Println("ready")
	c := exec.Command("/suid", probeName+"-euid")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000, NoSetGroups: true}}
	out, cerr := c.CombinedOutput()
	if err = errors.Join(err, cerr); err != nil {
		fmt.Println("error:", err)
	}
	fmt.Print("became ", string(out))
	time.Sleep(time.Minute)
}

// testAccounts asks for users of roots whose lists of them are links and pipes.
func (m *mode) testAccounts(t *testing.T) {
	for name, root := range map[string]string{"user by a link": "links-as-programs", "user by a pipe": "passwd-pipes"} {
		m.line(t, name, func(t *testing.T) {
			c := m.start("--user", "somebody", root, "/probe")
			defer time.AfterFunc(20*time.Second, func() { c.Process.Kill() }).Stop()
			if out, errs, code := outcome(t, c); code != codeRunFailed || !strings.Contains(errs, "hint: ") {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
}

// testPipes sends as much as no pipe holds through a container.
func (m *mode) testPipes(t *testing.T) {
	const size = 100_000_000
	c := m.start("fixture", "cat")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("0123456789"), 100_000)
	wrote := make(chan error, 1)
	go func() {
		var err error
		for range size / len(chunk) {
			_, werr := in.Write(chunk)
			err = errors.Join(err, werr)
		}
		wrote <- errors.Join(err, in.Close()) // cat ends with its input
	}()
	n, buf, wrong := 0, make([]byte, 1<<20), false
	for {
		got, err := out.Read(buf)
		for i, b := range buf[:got] {
			wrong = wrong || b != '0'+byte((n+i)%10)
		}
		if n += got; err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
	}
	if err := errors.Join(<-wrote, c.Wait()); err != nil || n != size || wrong {
		t.Errorf("%d bytes came back, other ones: %v, %v", n, wrong, err)
	}
}
