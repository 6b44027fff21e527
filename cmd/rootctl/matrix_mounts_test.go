package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// testMounts has a shared mount of the host bound, below which both sides mount something.
func (m *mode) testMounts(t *testing.T) {
	dir, err := os.MkdirTemp(filepath.Dir(m.probe), "shared-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := unix.Mount("matrix", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(dir, "outside")
	defer unix.Unmount(dir, unix.MNT_DETACH)
	defer unix.Unmount(outside, unix.MNT_DETACH) // if it came to that
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, outside, filepath.Join(dir, "inside")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(d, int(m.uid), int(m.uid)); err != nil {
			t.Fatal(err)
		}
	}
	c := m.start("--seccomp=none", "--cap-add=SYS_ADMIN", "--bind", dir+":/mnt", "--bind", m.probe+":/probe:ro", "fixture", "/probe", probeName+"-mounts")
	var errs lines
	c.Stderr = &errs
	pipe, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.Process.Kill(); c.Wait() }()
	out := bufio.NewReader(pipe)
	line, _ := out.ReadString('\n')
	m.line(t, "mounts of the container on the host", func(t *testing.T) {
		if line != "mounted: <nil>\n" {
			t.Errorf("inside: %q, %s", line, &errs)
		}
		if _, err := os.Stat(filepath.Join(dir, "inside", "made")); err == nil {
			t.Error("the container's mount is there")
		}
		if b, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(b), m.cache+"/") || strings.Contains(string(b), dir+"/inside") {
			t.Errorf("mounts of the host: %v\n%s", err, b)
		}
	})
	m.line(t, "mounts of the host in the container", func(t *testing.T) {
		if err := unix.Mount("matrix", outside, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{filepath.Join(outside, "made"), filepath.Join(dir, "go")} {
			if err := os.WriteFile(f, nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if line, err := out.ReadString('\n'); line != "the host's: false\n" {
			t.Errorf("inside: %q, %v, %s", line, err, &errs)
		}
	})
}

// testSwapped has the owner of a bound folder exchange a folder in it for a link, while another one is to be bound there.
func (m *mode) testSwapped(t *testing.T) {
	top, err := os.MkdirTemp(filepath.Dir(m.probe), "swapped-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	at, other := filepath.Join(top, "at"), filepath.Join(top, "other")
	link := filepath.Dir(m.mark())
	if err := os.Mkdir(at, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(link, other); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{top, at} {
		if err := os.Chown(n, int(m.uid), int(m.uid)); err != nil {
			t.Fatal(err)
		}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, at, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			}
		}
	}()
	defer func() { close(stop); <-done }()
	for range 10 {
		// 0: the bind was made in the folder, or where the link leads inside. 125: the name was of another kind just then.
		_, errs, code := m.run(t, "--timeout=20s", "--bind", top+":/mnt", "--bind", m.probe+":/mnt/at:ro", "--bind", top+":/mnt/at", "fixture", "true")
		if code != 0 && (code != codeRunFailed || !strings.Contains(errs, "hint: ")) {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		if b, err := os.ReadFile(m.mark()); err != nil || string(b) != "untouched" {
			t.Fatalf("the host's file: %q, %v", b, err)
		}
		if names, err := os.ReadDir(link); err != nil || len(names) != 1 {
			t.Fatalf("where the link leads on the host: %v, %v", names, err)
		}
	}
}
