package main

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// callNumbers reads a system call table from golang.org/x/sys.
func callNumbers(t *testing.T, arch string) map[string]uint32 {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "unix", "zsysnum_linux_"+arch+".go"))
	if err != nil {
		t.Fatal(err)
	}
	numbers := map[string]uint32{}
	for _, m := range regexp.MustCompile(`(?m)^\s*SYS_(\w+)\s*=\s*(\d+)$`).FindAllStringSubmatch(string(b), -1) {
		n, _ := strconv.ParseUint(m[2], 10, 32)
		numbers[strings.ToLower(m[1])] = uint32(n)
	}
	return numbers
}

// An attempt is a call that the filter refuses.
type attempt struct {
	name string
	want unix.Errno
}

// blockedCalls are all calls that are not on the list of those allowed, by the native number, by i386's through int 0x80
// and by x32's, and the arguments that are refused of those which are looked at.
func blockedCalls(t *testing.T) (code machineCode, list []attempt) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "internal", "runner", "testdata", "seccomp_allowed.txt"))
	if err != nil {
		t.Fatal(err)
	}
	// Those whose arguments are looked at come below; what probes jump to, newer kernels show no filter.
	others := []string{"clone", "clone3", "ioctl", "personality", "socket", "uprobe", "uretprobe"}
	passed := append(strings.Fields(string(b)), others...)
	native, old := callNumbers(t, "amd64"), callNumbers(t, "386")
	for _, name := range slices.Sorted(maps.Keys(native)) {
		if !slices.Contains(passed, name) {
			code.native(native[name], [3]uint32{})
			list = append(list, attempt{name + " native", unix.EPERM})
		}
		if n := native[name] | 0x40000000; !slices.Contains([]string{"exit", "exit_group"}, name) { // none of x32's is known
			code.native(n, [3]uint32{})
			list = append(list, attempt{name + " x32", unix.ENOSYS})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		if !slices.Contains(passed, name) {
			code.old(old[name], [3]uint32{})
			list = append(list, attempt{name + " i386", unix.EPERM})
		}
	}
	both := func(name string, args [3]uint32, want unix.Errno) {
		code.native(native[name], args)
		code.old(old[name], args)
		what := fmt.Sprintf("%s %#x", name, args)
		list = append(list, attempt{what + " native", want}, attempt{what + " i386", want})
	}
	for _, flag := range []uint32{unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET} {
		both("clone", [3]uint32{flag | uint32(unix.SIGCHLD)}, unix.EPERM)
	}
	both("clone3", [3]uint32{}, unix.ENOSYS)
	both("ioctl", [3]uint32{0, unix.TIOCSTI}, unix.EPERM)
	both("ioctl", [3]uint32{0, unix.TIOCLINUX}, unix.EPERM)
	both("personality", [3]uint32{0x40000}, unix.EPERM)
	both("socket", [3]uint32{unix.AF_VSOCK, unix.SOCK_STREAM}, unix.EPERM)
	return code, list
}

// testCalls makes every blocked call in each table, in one process.
func (m *mode) testCalls(t *testing.T) {
	for table, name := range map[string]string{"native": "every blocked call", "i386": "every blocked call by i386", "x32": "every blocked call by x32"} {
		m.line(t, name, func(t *testing.T) {
			code, list := blockedCalls(t)
			program := m.bindable(t, "calls", code.program())
			out, errs, exit := m.run(t, "--bind", program+":/calls:ro", "fixture", "/calls")
			if exit != 0 || len(list) < 500 {
				t.Fatalf("exit code %d, %d attempts\n%s", exit, len(list), errs)
			}
			m.judge(t, list, out, table)
		})
	}
	m.line(t, "i386 program", func(t *testing.T) { // the table of an ordinary one is not refused
		p := m.bindable(t, "old", smallELF(32, "", []byte{0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80})) // exit(7)
		if _, errs, code := m.run(t, "--bind", p+":/old:ro", "fixture", "/old"); code != 7 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
}

func (m *mode) judge(t *testing.T, list []attempt, out, table string) {
	t.Helper()
	if len(out) != 4*len(list) {
		t.Fatalf("%d results of %d", len(out)/4, len(list))
	}
	for i, a := range list {
		got := unix.Errno(-int32(binary.LittleEndian.Uint32([]byte(out[4*i:]))))
		if strings.HasSuffix(a.name, table) && got != a.want {
			t.Errorf("%s: %v, not %v", a.name, got, a.want)
		}
	}
}

// testInterpreter has the kernel take rootctl for the interpreter of a program: while a command is executed, /proc/self/exe
// is rootctl's file.
func (m *mode) testInterpreter(t *testing.T) {
	m.line(t, "interpreter is /proc/self/exe", func(t *testing.T) {
		before := sha256Of(t, m.probe)
		p := m.bindable(t, "interpreted", smallELF(64, "/proc/self/exe", []byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 5}))
		if out, errs, code := m.run(t, "--timeout", "20s", "--bind", p+":/interpreted:ro", "fixture", "/interpreted", "version"); code == codeTimeout {
			t.Errorf("it hangs\n%s%s", out, errs)
		}
		if _, errs, code := m.run(t, "--timeout", "20s", "--bind", p+":/interpreted:ro", "fixture", "sh", "-c", "/interpreted version; (: >> /proc/self/exe) 2>&-; exit 3"); code != 3 {
			t.Errorf("from a shell: exit code %d\n%s", code, errs)
		}
		if sha256Of(t, m.probe) != before {
			t.Fatal("the program was changed")
		}
	})
}
