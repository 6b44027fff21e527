package main

import (
	"bufio"
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
	"unsafe"

	"golang.org/x/sys/unix"
)

// rungName, as argv[1], has the test binary take rights from itself as outer containers do, and become rootctl:
//
//	masked   parts of /proc and /sys are covered (docker run --cap-add SYS_ADMIN, which also opens the filter)
//	podman   the same, with the capabilities of a container: no mounts (podman run)
//	chroot   these capabilities and a filter against namespaces (docker run)
//	strict   a filter against namespaces alone, mount namespaces too
//	none     no capability that would help (Kubernetes, restricted)
//	armour   what looks like Ubuntu's sysctl against user namespaces, and the filter for its effect
//	uidmap   newuidmap and newgidmap cannot be executed
//	tun      /dev/net/tun is for root alone
const rungName = "rootctl-rung:"

// containerCaps are Docker's.
const containerCaps = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_FSETID | 1<<unix.CAP_FOWNER | 1<<unix.CAP_MKNOD |
	1<<unix.CAP_NET_RAW | 1<<unix.CAP_SETGID | 1<<unix.CAP_SETUID | 1<<unix.CAP_SETFCAP | 1<<unix.CAP_SETPCAP |
	1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_KILL | 1<<unix.CAP_AUDIT_WRITE

func rungMain(args []string) int {
	runtime.LockOSThread()
	rung := strings.TrimPrefix(args[0], rungName)
	var steps []func() error
	switch rung {
	case "masked":
		steps = append(steps, maskProc)
	case "podman":
		steps = append(steps, maskProc, func() error { return dropCaps(containerCaps) })
	case "chroot":
		steps = append(steps, maskProc, filterNamespaces, func() error { return dropCaps(containerCaps) })
	case "strict":
		steps = append(steps, filterNamespaces)
	case "armour":
		steps = append(steps, pretendArmour, filterNamespaces)
	case "uidmap":
		steps = append(steps, hideUIDMap)
	case "tun":
		steps = append(steps, func() error { return ownTun(0o600) })
	case "none":
		steps = append(steps, maskProc, filterNamespaces, func() error { return dropCaps(1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_CHOWN) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			fmt.Fprintln(os.Stderr, "rung:", err)
			return 99
		}
	}
	err := unix.Exec(args[1], args[1:], os.Environ())
	fmt.Fprintln(os.Stderr, "rung:", err)
	return 99
}

// maskProc covers what runc covers, in a mount namespace of its own.
func maskProc() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for _, f := range []string{"/proc/kcore", "/proc/keys", "/proc/timer_list"} {
		if err := unix.Mount("/dev/null", f, "", unix.MS_BIND, ""); err != nil && err != unix.ENOENT {
			return fmt.Errorf("mask %s: %w", f, err)
		}
	}
	for _, d := range []string{"/proc/acpi", "/proc/scsi", "/sys/firmware"} {
		if err := unix.Mount("tmpfs", d, "tmpfs", unix.MS_RDONLY, ""); err != nil && err != unix.ENOENT {
			return fmt.Errorf("mask %s: %w", d, err)
		}
	}
	return nil
}

func dropCaps(keep uint64) error {
	for i := range uintptr(64) {
		if keep&(1<<i) == 0 {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, i, 0, 0, 0); err != nil && err != unix.EINVAL {
				return fmt.Errorf("drop capability %d: %w", i, err)
			}
		}
	}
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var d [2]unix.CapUserData
	for i := range d {
		w := uint32(keep >> (32 * i))
		d[i] = unix.CapUserData{Effective: w, Permitted: w}
	}
	return unix.Capset(&h, &d[0])
}

// filterNamespaces refuses new namespaces as Docker's filter does: EPERM, and ENOSYS for clone3, whose flags lie in memory.
func filterNamespaces() error {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		set   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K

		spaces = unix.CLONE_NEWNS | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP
	)
	f := []unix.SockFilter{
		{Code: load, K: 0},
		{Code: equal, K: unix.SYS_CLONE3, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: equal, K: unix.SYS_SETNS, Jt: 4},
		{Code: equal, K: unix.SYS_CLONE, Jt: 1},
		{Code: equal, K: unix.SYS_UNSHARE, Jf: 3},
		{Code: load, K: 16}, // the flags: the first argument of both, where the lower half comes first
		{Code: set, K: spaces, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	p := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&p)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}

// on gives a rootctl that is on a rung.
func (f *fixture) on(rung, cache string) func(args ...string) *exec.Cmd {
	return func(args ...string) *exec.Cmd {
		c := exec.Command(f.probe(), append([]string{rungName + rung, f.self}, args...)...)
		c.Env = append(os.Environ(), "ROOTCTL_CACHE="+cache)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return c
	}
}

// probe is this binary under a name by which TestMain takes it for itself.
func (f *fixture) probe() string {
	exe, err := os.Executable()
	if err != nil {
		return f.self
	}
	return exe
}

// TestLadder forces each rung and has each verb do there what docs/fallbacks.md says.
func TestLadder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to take rights from itself")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	want := f.build(t, dir)
	for _, rung := range []string{"masked", "podman"} {
		t.Run(rung, func(t *testing.T) { f.testMasked(t, rung, want) })
	}
	t.Run("masked-user", f.testMaskedUser)
	t.Run("none", func(t *testing.T) { f.testNone(t, dir) })
	for _, rung := range []string{"chroot", "strict"} {
		t.Run(rung, func(t *testing.T) { f.testChroot(t, rung, want) })
	}
}

// digestOf is that of the only root of a cache.
func digestOf(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "roots"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && len(e.Name()) == 64 {
			return e.Name()
		}
	}
	return ""
}

// testChroot: no namespaces, but root that may chroot.
func (f *fixture) testChroot(t *testing.T, rung, want string) {
	dir := filepath.Join(t.TempDir(), "cache")
	on := f.on(rung, dir)
	if !t.Run("build", func(t *testing.T) {
		out, errs, code := outcome(t, on(f.args...))
		if code != 0 || digestOf(t, dir) != want || strings.Count(errs, "by chroot") != 1 {
			t.Fatalf("exit code %d, root %s, want %s\n%s%s", code, digestOf(t, dir), want, out, errs)
		}
	}) {
		return
	}
	t.Run("run", func(t *testing.T) {
		_, errs, code := outcome(t, on("run", "fixture", "true"))
		if code != codeRunFailed || !strings.Contains(errs, "--isolation=chroot") || !strings.Contains(errs, "docker run --security-opt") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("run-chroot", func(t *testing.T) {
		out, errs, code := outcome(t, on("run", "--isolation=chroot", "fixture", "sh", "-c", "echo x >/new && echo y >/dev/null && ls -d /new; echo /proc/*; exit 7"))
		if code != 7 || out != "/new\n/proc/*\n" || strings.Count(errs, "not isolated") != 1 {
			t.Errorf("exit code %d, output %q\n%s", code, out, errs)
		}
	})
	t.Run("terminal", func(t *testing.T) { f.testChrootTerminal(t, dir, rung) })
	t.Run("processes", func(t *testing.T) { testChrootEnds(t, dir, on) })
	if left := leftFiles(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// testChrootEnds: what a command leaves in the background ends with it, and with rootctl, whoever is killed.
func testChrootEnds(t *testing.T, dir string, on func(...string) *exec.Cmd) {
	const script = "(setsid sleep 31.4159 & setsid setpriv --reuid 1000 sleep 31.4159 &) </dev/null >/dev/null 2>&1; echo up; "
	gone := func(t *testing.T) {
		t.Helper()
		until := time.Now().Add(15 * time.Second)
		for {
			left := sleepers(t, "31.4159")
			copies, _ := filepath.Glob(filepath.Join(dir, "scratch", "*", "u"))
			if len(left)+len(copies) == 0 {
				return
			}
			if time.Now().After(until) {
				t.Fatalf("left behind: processes %v, copies %q", left, copies)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Run("end", func(t *testing.T) {
		if out, errs, code := outcome(t, on("run", "--isolation=chroot", "fixture", "sh", "-c", script+"exit 3")); code != 3 || out != "up\n" {
			t.Errorf("exit code %d, output %q\n%s", code, out, errs)
		}
		gone(t)
	})
	for name, sig := range map[string]syscall.Signal{"TERM": unix.SIGTERM, "KILL": unix.SIGKILL, "KILL-keeper-too": unix.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			c := on("run", "--isolation=chroot", "fixture", "sh", "-c", script+"sleep 31.4159")
			pipe, err := c.StdoutPipe()
			if err == nil {
				err = c.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(pipe).ReadString('\n'); err != nil {
				t.Error(err)
			}
			if name == "KILL-keeper-too" {
				keeper := keeperOf(t, c.Process.Pid)
				if keeper == 0 {
					t.Fatal("no keeper")
				}
				if err := unix.Kill(keeper, sig); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Process.Signal(sig); err != nil {
				t.Error(err)
			}
			_ = c.Wait()
			if name == "KILL-keeper-too" { // what is left then is the next one's to collect
				for _, args := range [][]string{{"ps"}, {"cache", "gc"}} {
					if out, errs, code := outcome(t, on(args...)); code != 0 {
						t.Errorf("%q: exit code %d\n%s%s", args, code, out, errs)
					}
				}
			}
			gone(t)
		})
	}
	t.Run("rm", func(t *testing.T) {
		id, errs, code := outcome(t, on("run", "-d", "--isolation=chroot", "fixture", "sh", "-c", script+"sleep 31.4159"))
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, errs)
		}
		id = strings.TrimSpace(id)
		if out, errs, code := outcome(t, on("exec", id, "true")); code != codeRunFailed || !strings.Contains(errs, "no namespaces to join") {
			t.Errorf("exec: exit code %d\n%s%s", code, out, errs)
		}
		if out, errs, code := outcome(t, on("rm", "-f", id)); code != 0 {
			t.Errorf("rm: exit code %d\n%s%s", code, out, errs)
		}
		gone(t)
	})
}

// testChrootTerminal: a terminal of its own, where nothing can be mounted.
func (f *fixture) testChrootTerminal(t *testing.T, dir, rung string) {
	const script = "test -t 0 && test -t 1 && echo shown >/dev/tty; exit 5"
	out, code := f.onTerminal(t, dir, 80, 0, rungName+rung, f.self, "run", "--isolation=chroot", "fixture", "sh", "-c", script)
	if code != 5 || !strings.Contains(out, "shown") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// keeperOf is the keeper among the children of a process.
func keeperOf(t *testing.T, pid int) int {
	t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		var of int
		b, err := os.ReadFile(filepath.Join(d, "stat"))
		if err != nil || !strings.Contains(string(b), "(rootctl-keeper)") {
			continue
		}
		if _, err := fmt.Sscanf(string(b[strings.LastIndexByte(string(b), ')')+1:]), " %1s %d", new(string), &of); err == nil && of == pid {
			n, _ := strconv.Atoi(filepath.Base(d))
			return n
		}
	}
	return 0
}

// sleepers are the processes that sleep for a time nobody else does.
func sleepers(t *testing.T, time string) (pids []string) {
	t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if b, err := os.ReadFile(filepath.Join(d, "cmdline")); err == nil && string(b) == "sleep\x00"+time+"\x00" {
			pids = append(pids, filepath.Base(d))
		}
	}
	return pids
}
