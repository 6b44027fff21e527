package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probeName is the first argument that makes this binary try what a container must not be able to.
const probeName = "matrix-probe"

// probeMain is the probe by its name.
func probeMain(args []string) {
	switch args[0] {
	case probeName:
		probe(args[1:])
	case probeName + "-net":
		probeNet(args[1:])
	case probeName + "-files":
		probeFiles()
	case probeName + "-away":
		probeAway()
	case probeName + "-nested":
		if unix.Unmount("/proc/kcore", unix.MNT_DETACH) != nil {
			os.Exit(1)
		}
	}
}

// probe prints a line for each attempt: its name, and "held" or what it reached. Arguments are a process of the host and
// an abstract socket of its network.
func probe(args []string) {
	var pid int
	fmt.Sscan(args[0], &pid)
	say := func(name string, err error) {
		result := "held"
		if err == nil {
			result = "REACHED"
		}
		fmt.Printf("%s: %s (%v)\n", name, result, err)
	}
	open := func(name string) error {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err == nil {
			f.Close()
		}
		return err
	}
	empty := func(name string) error {
		b := make([]byte, 64)
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.Read(b)
		return err
	}
	say("core_pattern", open("/proc/sys/kernel/core_pattern"))
	say("uevent_helper", open("/sys/kernel/uevent_helper"))
	say("sysrq", open("/proc/sysrq-trigger"))
	say("kcore", empty("/proc/kcore"))
	say("keys", empty("/proc/keys"))
	say("dmesg", second(unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 64))))
	say("kmsg", open("/dev/kmsg"))
	say("unmounting a mask", unix.Unmount("/proc/kcore", unix.MNT_DETACH))
	say("mounting", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	say("remounting the root", unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID, ""))
	say("kill of the host", unix.Kill(pid, unix.SIGKILL))
	say("ptrace of the host", unix.PtraceAttach(pid))
	_, err := net.Dial("unix", "@"+args[1])
	say("abstract socket", err)
	say("disk by mknod", mknodDisk())
	say("double chroot", doubleChroot())
	say("mask in a nested user namespace", nested())
	say("own program of PID 1", open("/probe"))
	say("handle of a file", byHandle())
	say("namespace of PID 1's kin", joinNamespaces())
	say("clock", unix.Settimeofday(&unix.Timeval{Sec: 1}))
	say("module", func() error {
		_, _, e := unix.Syscall(unix.SYS_DELETE_MODULE, uintptr(unsafe.Pointer(&[]byte("x\x00")[0])), 0, 0)
		if e == unix.EPERM || e == unix.ENOSYS { // a kernel without modules
			return e
		}
		return nil
	}())
	_, _, e := unix.Syscall6(unix.SYS_BPF, 0, 0, 0, 0, 0, 0)
	say("bpf", errnoOf(e))
}

func second(_ int, err error) error { return err }

func errnoOf(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// byHandle opens the root by its handle, which leads past every mount.
func byHandle() error {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/tmp", 0)
	if err != nil {
		return err
	}
	f, err := os.Open("/tmp")
	if err != nil {
		return err
	}
	defer f.Close()
	return second(unix.OpenByHandleAt(int(f.Fd()), h, unix.O_RDONLY))
}

func mknodDisk() error {
	if err := unix.Mknod("/disk", unix.S_IFBLK|0o666, int(unix.Mkdev(254, 0))); err != nil {
		return err
	}
	defer os.Remove("/disk")
	_, err := unix.Open("/disk", unix.O_RDONLY, 0)
	return err
}

// doubleChroot leaves a chroot as one that forgot to change the directory can be left, and looks for another root.
func doubleChroot() error {
	var before, after unix.Stat_t
	if err := errors.Join(unix.Stat("/", &before), os.MkdirAll("/jail", 0o755)); err != nil {
		return err
	}
	if err := unix.Chroot("/jail"); err != nil {
		return err
	}
	for range 64 {
		if err := unix.Chdir(".."); err != nil {
			return err
		}
	}
	if err := errors.Join(unix.Chroot("."), unix.Stat("/", &after)); err != nil {
		return err
	}
	if before.Dev == after.Dev && before.Ino == after.Ino {
		return errors.New("the same root")
	}
	return nil
}

// nested tries to uncover /proc/kcore as root of a user namespace of its own.
func nested() error {
	c := exec.Command("/probe", probeName+"-nested")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}}
	return c.Run()
}

// joinNamespaces tries the calls that enter another process's namespaces.
func joinNamespaces() error {
	f, err := os.Open("/proc/1/ns/mnt")
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNS)
}

// testEscape has one container try everything, and a subtest for each attempt.
func (m *mode) testEscape(t *testing.T) {
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { victim.Process.Kill(); victim.Wait() }()
	socket := fmt.Sprintf("rootctl-matrix-%d", os.Getpid())
	listen(t, socket+t.Name())
	out, errs, code := m.run(t, "--bind", m.probe+":/probe:ro", "fixture", "/probe", probeName, fmt.Sprint(victim.Process.Pid), socket+t.Name())
	if code != 0 || strings.Count(out, "\n") < 20 {
		t.Fatalf("probe: exit code %d\n%s%s", code, out, errs)
	}
	for line := range strings.Lines(out) {
		name, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
		t.Run(name, func(t *testing.T) {
			if !strings.HasPrefix(result, "held") {
				t.Error(result)
			}
		})
	}
	t.Run("inherited descriptors", func(t *testing.T) {
		secret, err := os.Open(filepath.Join("/", "etc", "shadow"))
		if err != nil {
			t.Fatal(err)
		}
		defer secret.Close()
		c := m.start("fixture", "sh", "-c", "ls /proc/$$/fd")
		c.ExtraFiles = []*os.File{secret}
		if out, _, _ := outcome(t, c); strings.Join(strings.Fields(out), " ") != "0 1 2" {
			t.Errorf("open: %q", out)
		}
	})
	t.Run("folder by descriptor", func(t *testing.T) {
		if _, errs, code := m.run(t, "--workdir", "/proc/self/fd/3", "fixture", "true"); code != 125 {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
}
