package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
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
	case probeName + "-uncover":
		probeUncover()
	case probeName + "-nested":
		probeNested()
	case probeName + "-mounts":
		probeMounts()
	case probeName + "-stalk":
		probeStalk(args[1])
	case probeName + "-eat":
		probeEat()
	case probeName + "-self":
		fmt.Println("own file:", unix.Chmod("/proc/self/exe", 0o711))
	case probeName + "-gain":
		probeGain()
	case probeName + "-euid":
		fmt.Println(os.Geteuid())
	}
}

// reached stands for an attempt that succeeded.
const reached = unix.Errno(0)

// say prints a line for an attempt: its name and the number of the error that kept it from succeeding.
func say(name string, err error) {
	var errno syscall.Errno
	if err != nil && !errors.As(err, &errno) {
		errno = unix.ENODATA // nothing to be seen
	}
	fmt.Printf("%s: %d (%v)\n", name, int(errno), err)
}

// probe makes the attempts. Arguments are a process of the host and an abstract socket of its network.
func probe(args []string) {
	var pid int
	fmt.Sscan(args[0], &pid)
	say("core_pattern", unchangeable("/proc/sys", "/proc/sys/kernel/core_pattern"))
	say("uevent_helper", unchangeable("/sys", "/sys/kernel/uevent_helper"))
	say("sysrq", unchangeable("", "/proc/sysrq-trigger"))
	say("irq", unchangeable("/proc/irq", "/proc/irq/default_smp_affinity"))
	for name, file := range map[string]string{"kcore": "/proc/kcore", "keys": "/proc/keys", "interrupts": "/proc/interrupts", "timer_list": "/proc/timer_list"} {
		say(name, covered(file))
	}
	say("firmware", emptyFolder("/sys/firmware"))
	say("dmesg", second(unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 64))))
	say("kmsg", unchangeable("", "/dev/kmsg"))
	say("unmounting a mask", unix.Unmount("/proc/interrupts", unix.MNT_DETACH))
	say("mounting", unix.Mount("none", "/tmp", "tmpfs", 0, ""))
	say("remounting the root", unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOSUID, ""))
	say("kill of the host", unix.Kill(pid, unix.SIGKILL))
	say("ptrace of the host", unix.PtraceAttach(pid))
	_, err := net.Dial("unix", "@"+args[1])
	say("abstract socket", err)
	say("disk by mknod", mknodDisk())
	say("double chroot", doubleChroot())
	say("nested user namespace", nest(nil))
	say("bound program", unix.Chmod("/probe", 0o777))
	say("handle of a file", byHandle())
	say("namespace of PID 1's kin", joinNamespaces())
	say("clock", unix.Settimeofday(&unix.Timeval{Sec: 1}))
	_, _, e := unix.Syscall(unix.SYS_DELETE_MODULE, uintptr(unsafe.Pointer(&[]byte("x\x00")[0])), 0, 0)
	say("module", errnoOf(e))
	_, _, e = unix.Syscall6(unix.SYS_BPF, 0, 0, 0, 0, 0, 0)
	say("bpf", errnoOf(e))
	b := byte('x')
	_, _, e = unix.Syscall(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&b)))
	say("TIOCSTI", errnoOf(e))
	say("key ring", second(unix.KeyctlGetKeyringID(unix.KEY_SPEC_USER_KEYRING, true)))
}

func second(_ int, err error) error { return err }

func errnoOf(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// unchangeable opens a file for writing. Where its owner's rights alone would forbid that, the mount has to be read-only
// all the same; no kernel has every one of these files.
func unchangeable(mount, file string) error {
	var st unix.Statfs_t
	if mount != "" {
		if err := unix.Statfs(mount, &st); err != nil || st.Flags&unix.ST_RDONLY == 0 {
			return nil
		}
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	return err
}

// covered wants null in the place of a file that tells of the host.
func covered(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return nil
	}
	return errors.New("covered")
}

func emptyFolder(name string) error {
	names, err := os.ReadDir(name)
	if err == nil && len(names) == 0 {
		err = errors.New("empty")
	}
	return err
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
	return second(unix.Open("/disk", unix.O_RDONLY, 0))
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

// nest runs the probe as root of a user namespace of its own.
func nest(out *strings.Builder) error {
	c := exec.Command("/probe", probeName+"-nested")
	if out != nil {
		c.Stdout = out
	}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}}
	return c.Run()
}

// probeUncover is for a container without the filter of system calls.
func probeUncover() {
	say("unmounting a mask without the filter", unix.Unmount("/proc/interrupts", unix.MNT_DETACH))
	var out strings.Builder
	say("nesting", nest(&out)) // it succeeds: the lines that follow are from there
	fmt.Print(out.String())
}

func probeNested() {
	say("unmounting a mask in a nested user namespace", unix.Unmount("/proc/interrupts", unix.MNT_DETACH))
	say("fresh proc in a nested user namespace", unix.Mount("proc", "/tmp", "proc", 0, ""))
	say("writable /proc/sys in a nested user namespace", unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
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

// probeMounts has the right to mount, and looks for what the host mounts meanwhile.
func probeMounts() {
	err := unix.Mount("none", "/mnt/inside", "tmpfs", 0, "")
	if err == nil {
		err = os.WriteFile("/mnt/inside/made", nil, 0o600)
	}
	fmt.Println("mounted:", err)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat("/mnt/go"); err == nil || time.Now().After(end) {
			break
		}
	}
	_, err = os.Stat("/mnt/outside/made")
	fmt.Println("the host's:", err == nil)
}

// probeEat uses more memory than it may.
func probeEat() {
	b := make([]byte, 512<<20)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	fmt.Println("eaten", len(b))
}
