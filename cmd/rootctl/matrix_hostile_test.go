package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// hostileNames are what a root has where the runner mounts and writes: links to a file of the host, dangling and relative
// ones, pipes and files.
func hostileNames(mark string) map[string][]*tar.Header {
	link := func(name, to string) *tar.Header {
		return &tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	fifo := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeFifo, Mode: 0o666} }
	file := func(name string) *tar.Header { return &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	dir := filepath.Dir(mark)
	return map[string][]*tar.Header{
		"etc-relative": {link("etc", "../../.."+dir)}, "etc-dangling": {link("etc", "/nowhere/etc")}, "etc-pipe": {fifo("etc")}, "etc-file": {file("etc")},
		"dev-relative": {{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755}, link("dev/null", "../../../.."+mark), link("dev/pts", "../../.."+dir), link("dev/ptmx", "pts/../../etc"), link("dev/shm", "../tmp")},
		"dev-dangling": {{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755}, link("dev/null", "/nowhere"), link("dev/pts", "nowhere"), link("dev/ptmx", "nowhere"), link("dev/shm", "/nowhere/x")},
		"dev-pipes":    {{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755}, fifo("dev/null"), fifo("dev/pts"), fifo("dev/ptmx"), fifo("dev/shm")},
		"dev-files":    {{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755}, file("dev/null"), file("dev/pts"), file("dev/ptmx"), file("dev/shm")},
		"absolute-links": {link("proc", dir), link("sys", dir), link("dev", dir), link("tmp", dir), link("run", dir),
			link("etc/hosts", mark), link("etc/hostname", mark), link("etc/resolv.conf", mark)},
		"relative-links": {link("proc", "../../../.."+dir), link("sys", "etc"), link("dev", "../tmp"), link("tmp", "../.."+dir), link("run", "."),
			link("etc/hosts", "../../.."+mark), link("etc/hostname", "hosts"), link("etc/resolv.conf", "../proc/self/root"+mark)},
		"dangling-links": {link("proc", "/nowhere"), link("sys", "nowhere"), link("dev", "/nowhere/x"), link("tmp", "/x"), link("run", "y"),
			link("etc/hosts", "/nowhere"), link("etc/hostname", "nowhere"), link("etc/resolv.conf", "/run/nowhere/x")},
		"pipes":             {fifo("proc"), fifo("sys"), fifo("dev"), fifo("tmp"), fifo("run"), fifo("etc/hosts"), fifo("etc/hostname"), fifo("etc/resolv.conf")},
		"files":             {file("proc"), file("sys"), file("dev"), file("tmp"), file("run"), file("etc/hosts"), file("etc/hostname"), file("etc/resolv.conf")},
		"dev-names":         {{Name: "dev/", Typeflag: tar.TypeDir, Mode: 0o755}, link("dev/null", mark), link("dev/pts", dir), link("dev/ptmx", mark), link("dev/shm", dir)},
		"etc-a-link":        {link("etc", dir)},
		"links-as-programs": {link("evil-cmd", "/proc/self/exe"), link("evil-dir", "/proc/1/root"), link("etc/passwd", mark)},
		"passwd-pipes":      {fifo("etc/passwd"), fifo("etc/group")},
	}
}

// mark is a file of the host that no container may change.
func (m *mode) mark() string { return filepath.Join(filepath.Dir(m.probe), "mark-of-the-host", "mark") }

// importHostile puts the hostile roots into the cache.
func (m *mode) importHostile(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.mark()), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(m.mark(), []byte("untouched"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, headers := range hostileNames(m.mark()) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		names := map[string]bool{}
		for _, h := range headers {
			names[h.Name] = true
		}
		if !names["etc"] {
			if err := w.WriteHeader(&tar.Header{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
				t.Fatal(err)
			}
		}
		for _, h := range headers {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range libraries(t) {
			if err := errors.Join(w.WriteHeader(&tar.Header{Name: f.name[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(f.data))}), second(w.Write(f.data))); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		c := m.command("import", "-q", "-", "--arch", hostArch(), "--tag", name)
		c.Stdin = &b
		if out, errs, code := outcome(t, c); code != 0 {
			t.Fatalf("import %s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
}

type library struct {
	name string
	data []byte
}

// libraries are what this binary is linked with: the probe needs them in a root.
func libraries(t *testing.T) (list []library) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command("ldd", self).Output() // fails for a static one
	for _, f := range strings.Fields(string(out)) {
		if strings.HasPrefix(f, "/") {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, library{f, b})
		}
	}
	return list
}

// testHostile runs the bound probe in each hostile root. Each must start (0, never 125): the copy is rootctl's own, so what
// stands where it mounts or writes is removed from the copy. A folder used in place is another matter; see
// TestHostileDirInPlace. Nothing hangs, and the host keeps its file.
func (m *mode) testHostile(t *testing.T) {
	for name := range hostileNames(m.mark()) {
		m.line(t, "hostile root "+name, func(t *testing.T) {
			out, errs, code := m.run(t, "--bind", m.probe+":/probe:ro", name, "/probe", probeName+"-files")
			if code != 0 || out != "proc and dev are real\n" {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
			if b, err := os.ReadFile(m.mark()); err != nil || string(b) != "untouched" {
				t.Errorf("the host's file: %q, %v", b, err)
			}
			if names, err := os.ReadDir(filepath.Dir(m.mark())); err != nil || len(names) != 1 {
				t.Errorf("beside the host's file: %v, %v", names, err)
			}
		})
	}
}

// probeFiles is what the probe looks at in a hostile root.
func probeFiles() {
	_, err1 := os.Stat("/proc/1/status")
	null, err2 := os.Stat("/dev/null")
	if err1 == nil && err2 == nil && null.Mode()&os.ModeCharDevice != 0 {
		os.Stdout.WriteString("proc and dev are real\n")
	}
	for _, f := range []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/tmp/x", "/run/x"} {
		_ = os.WriteFile(f, []byte("from inside"), 0o666) // whatever comes of it, the host must not see it
	}
}
