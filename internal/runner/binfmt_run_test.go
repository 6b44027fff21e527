package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// foreignRoot is a root with /bin/foreign, a program of another architecture, and what runs it.
func foreignRoot(t *testing.T) (string, *Format) {
	t.Helper()
	arch := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH] // Debian's names are Go's for these
	m := Machine{Arch: runtime.GOARCH, registered: "/nowhere"}
	f, err := m.Format(arch)
	if err != nil {
		t.Skipf("needs qemu-user-static: %v", err)
	}
	root := copyRoot(t)
	build := exec.Command("go", "build", "-o", filepath.Join(root, "bin/foreign"), "./testdata/foreign")
	build.Env = append(os.Environ(), "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return root, f
}

// registrations are those of the host, seen where nothing else is touched.
func registrations(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("unshare", "-m", "sh", "-c", "mount -t binfmt_misc none /mnt && cat /mnt/status && ls /mnt").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestForeignPrograms(t *testing.T) {
	needRoot(t)
	root, f := foreignRoot(t)
	before := registrations(t)
	in := Spec{Lower: []string{root}, Env: []string{"PATH=/bin"}, Format: f}

	s := in
	s.Argv = []string{"foreign", "arch", "exec", "register", "mounts"}
	got := must(t, s)
	arch, rest, _ := strings.Cut(got, "\n")
	if arch == runtime.GOARCH || !strings.HasPrefix(rest, "zero\n") {
		t.Errorf("%q", got)
	}
	if strings.Contains(rest, "binfmt") || strings.Contains(rest, "status") || strings.Contains(rest, "qemu") {
		t.Errorf("the registration is to be seen inside:\n%s", rest)
	}

	// While it lives nobody else has it: not the host, not another container.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer outR.Close()
	done := make(chan result)
	go func() {
		s := in
		s.Argv = []string{"sh", "-c", "foreign arch; read wait; foreign arch"}
		done <- try(t, s, Options{Stdin: r, Stdout: outW})
	}()
	b := make([]byte, 64)
	n, err := outR.Read(b)
	if err != nil || string(b[:n]) != arch+"\n" {
		t.Errorf("%q %v", b[:n], err)
	}
	if during := registrations(t); during != before {
		t.Errorf("the host has changed:\n%s\nwas\n%s", during, before)
	}
	plain := in
	plain.Format, plain.Argv = nil, []string{"foreign", "arch"}
	var ce *CommandError
	if !(Machine{Arch: runtime.GOARCH}).hostRuns(mustFind(arch)) {
		if other := try(t, plain, Options{}); !errors.As(other.failure, &ce) || ce.Err != unix.ENOEXEC || ce.Code != 126 {
			t.Errorf("another container: %+v", other)
		}
	}
	w.Close()
	if first := <-done; first.failure != nil || first.status.Code != 0 {
		t.Errorf("%+v", first)
	}
	outW.Close()
	if after := registrations(t); after != before {
		t.Errorf("the host has changed:\n%s", after)
	}
}

func mustFind(arch string) emulated {
	for _, e := range emulators() {
		if e.arch == arch {
			return e
		}
	}
	return emulated{}
}

// TestForeignFsync: the emulator's own calls are what the filter sees.
func TestForeignFsync(t *testing.T) {
	needRoot(t)
	root, f := foreignRoot(t)
	s := Spec{Dir: root, Argv: []string{"/bin/foreign", "fsync"}, Format: f}
	if got := must(t, s); got != "refused\n" {
		t.Errorf("without the filter: %q", got)
	}
	s.NoFsync = true
	if got := must(t, s); got != "suppressed\n" {
		t.Errorf("with it: %q", got)
	}
}

// TestLinux32: uname inside tells of the processor's little sister.
func TestLinux32(t *testing.T) {
	s := shell(t, "uname -m")
	s.Linux32 = true
	want := map[string]string{"amd64": "i686\n", "arm64": "armv8l\n"}[runtime.GOARCH]
	if runtime.GOARCH == "arm64" && !(Machine{Arch: "arm64"}).runsItself("armhf") {
		want = "aarch64\n"
	}
	if r := try(t, s, Options{}); r.out != want {
		t.Errorf("%+v, want %q", r, want)
	}
}

// TestForeignTerminal: the terminal's message comes after the registration's.
func TestForeignTerminal(t *testing.T) {
	needRoot(t)
	root, f := foreignRoot(t)
	s := Spec{Lower: []string{root}, Argv: []string{"/bin/foreign", "name"}, Format: f, TTY: true}
	if got := must(t, s); got != "/bin/foreign\r\n" {
		t.Errorf("%q", got)
	}
}

// TestForeignRefused: what is said when the emulator cannot be registered, and what the host's registration changes.
func TestForeignRefused(t *testing.T) {
	needRoot(t)
	root, f := foreignRoot(t)
	hidden := filepath.Join(t.TempDir(), "qemu") // a folder that only root may enter
	if err := os.WriteFile(hidden, elfWith(1), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(hidden), 0o700); err != nil {
		t.Fatal(err)
	}
	for summary, c := range map[string]struct {
		interpreter, binfmt, hint string
		errno                     error
	}{
		"not there":   {"/nowhere/qemu", "", "everybody must be able to read and run /nowhere/qemu", unix.ENOENT},
		"not allowed": {hidden, "", "everybody must be able to", unix.EACCES},
		"no kernel":   {f.Interpreter, "no_binfmt_misc", "modprobe binfmt_misc", unix.ENODEV},
	} {
		own := *f
		own.Interpreter, own.filesystem = c.interpreter, c.binfmt
		s := Spec{Lower: []string{root}, Argv: []string{"/bin/foreign"}, Format: &own}
		r := try(t, s, Options{})
		var se *StepError
		if r.status.Code != 125 || !errors.As(r.failure, &se) || se.Op.Verb != VerbFormat || !errors.Is(se, c.errno) || !strings.Contains(se.Hint(), c.hint) {
			t.Errorf("%s: %+v", summary, r)
		}
		// With a registration of the host to fall back on, only a refused mount is passed over.
		own.Optional = true
		s.Argv = []string{"/bin/true"}
		if r := try(t, s, Options{}); (r.failure == nil) != (c.binfmt != "") {
			t.Errorf("%s, optional: %+v", summary, r)
		}
	}
	if h := (&StepError{Op: Op{Verb: VerbFormat}, Call: "fsconfig create", Err: unix.EPERM}).Hint(); !strings.Contains(h, "6.7") || !strings.Contains(h, "binfmt-support") {
		t.Errorf("old kernel: %q", h)
	}
}

// TestForeignByHost has a process in a user namespace of its own play a host that has registered the emulator: inside,
// that serves containers which have none of their own.
func TestForeignByHost(t *testing.T) {
	needRoot(t)
	root, f := foreignRoot(t)
	f.Optional = true
	j, err := json.Marshal(job{Outer: true, Spec: Spec{Dir: root, Format: f}})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+string(j))
	all := []syscall.SysProcIDMap{{Size: 1<<32 - 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: all, GidMappings: all,
		GidMappingsEnableSetgroups: true, Pdeathsig: unix.SIGKILL}
	limit := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer limit.Stop()
	out, err := cmd.CombinedOutput()
	arch := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	if want := strings.Repeat(arch+"\n", 4); err != nil || string(out) != want {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
	}
}

// outerHelper registers the job's format where it is the host, and runs /bin/foreign of a copy of its root: without a
// format, with one that the kernel refuses, with one of the container's own, and so as an ordinary user's namespace.
func outerHelper(j job) int {
	const registered, root = "/mnt/binfmt", "/mnt/root"
	f := j.Spec.Format
	err := errors.Join(
		unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("none", "/mnt", "tmpfs", 0, ""), // of this user namespace, so that it can be idmapped
		os.Mkdir(registered, 0o755),
		unix.Mount("none", registered, "binfmt_misc", 0, ""),
		os.WriteFile(registered+"/register", f.line(), 0),
		exec.Command("cp", "-a", j.Spec.Dir, root).Run(),
	)
	arch := map[string]string{"amd64": "arm64", "arm64": "amd64"}[runtime.GOARCH]
	m := Machine{Arch: runtime.GOARCH, registered: registered}
	chosen, cerr := m.Format(arch)
	if err = errors.Join(err, cerr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	if m.folders = []string{"/nowhere"}; !chosen.Optional {
		fmt.Fprintln(os.Stderr, "the registration was not seen")
	}
	byHost, err := m.Format(arch)
	refused := *f
	refused.filesystem = "no_binfmt_misc"
	for i, format := range []*Format{byHost, &refused, chosen, chosen} {
		s := Spec{Dir: root, Argv: []string{"/bin/foreign", "arch"}, IDs: IDRange{firstID, blockID}, Format: format}
		if i == 3 {
			s.Nested, s.IDs = true, IDRange{0, blockID}
		}
		_, rerr := Run(context.Background(), s, Options{Stdout: os.Stdout, Stderr: os.Stderr})
		err = errors.Join(err, rerr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	return 0
}
