package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// held are the errors that keep each attempt of the probe from succeeding. The first tells of the guard; what follows is for
// kernels and modes where something else comes first.
func (m *mode) held() map[string][]unix.Errno {
	disk := unix.EPERM // no right to make one
	switch {
	case len(m.flags) > 0:
		disk = unix.EACCES // made, but the mount is nodev
	case m.single:
		disk = unix.ENOENT // making it is only said to have succeeded
	}
	return map[string][]unix.Errno{
		"core_pattern": {unix.EROFS, unix.EACCES}, "uevent_helper": {unix.EROFS, unix.EACCES, unix.ENOENT},
		"sysrq": {unix.EROFS, unix.EACCES, unix.ENOENT}, "irq": {unix.EROFS, unix.EACCES, unix.ENOENT},
		"kcore": {unix.ENODATA, unix.ENOENT}, "keys": {unix.ENODATA}, "interrupts": {unix.ENODATA}, "timer_list": {unix.ENODATA, unix.ENOENT},
		"firmware": {unix.ENODATA, unix.ENOENT}, "dmesg": {unix.EPERM}, "kmsg": {unix.ENOENT},
		"unmounting a mask": {unix.EPERM}, "mounting": {unix.EPERM}, "remounting the root": {unix.EPERM},
		"kill of the host": {unix.ESRCH}, "ptrace of the host": {unix.ESRCH}, "abstract socket": {unix.ECONNREFUSED},
		"disk by mknod": {disk}, "double chroot": {unix.ENODATA}, "nested user namespace": {unix.EPERM},
		"bound program": {unix.EROFS}, "handle of a file": {unix.EPERM}, "namespace of PID 1's kin": {unix.EPERM},
		"clock": {unix.EPERM}, "module": {unix.EPERM}, "bpf": {unix.EPERM}, "TIOCSTI": {unix.EPERM}, "key ring": {unix.EPERM},
	}
}

// judgeProbe has a subtest for each line of a probe.
func (m *mode) judgeProbe(t *testing.T, out string, held map[string][]unix.Errno) {
	t.Helper()
	results := map[string]string{}
	for line := range strings.Lines(out) {
		name, result, _ := strings.Cut(strings.TrimSpace(line), ": ")
		results[name] = result
	}
	for name, wants := range held {
		m.line(t, name, func(t *testing.T) {
			number, _, _ := strings.Cut(results[name], " ")
			n, err := strconv.Atoi(number)
			if err != nil || !slices.Contains(wants, unix.Errno(n)) {
				t.Errorf("got %q, want one of %d", results[name], wants)
			}
		})
	}
	if len(results) != len(held) && !m.outer {
		t.Errorf("%d lines, not %d:\n%s", len(results), len(held), out)
	}
}

// testEscape has one container try everything, and another one what the filter of system calls would hide.
func (m *mode) testEscape(t *testing.T) {
	victim := exec.Command("sleep", "60")
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { victim.Process.Kill(); victim.Wait() }()
	socket := fmt.Sprintf("rootctl-matrix-%d", os.Getpid())
	listen(t, socket+t.Name())
	out, errs, code := m.run(t, "--bind", m.probe+":/probe:ro", "fixture", "/probe", probeName, fmt.Sprint(victim.Process.Pid), socket+t.Name())
	if code != 0 {
		t.Errorf("probe: exit code %d\n%s%s", code, out, errs)
	}
	m.judgeProbe(t, out, m.held())
	out, errs, code = m.run(t, "--seccomp=none", "--bind", m.probe+":/probe:ro", "fixture", "/probe", probeName+"-uncover")
	if code != 0 {
		t.Errorf("probe: exit code %d\n%s%s", code, out, errs)
	}
	m.judgeProbe(t, out, map[string][]unix.Errno{"unmounting a mask without the filter": {unix.EPERM}, "nesting": {reached},
		"unmounting a mask in a nested user namespace": {unix.EINVAL}, "fresh proc in a nested user namespace": {unix.EPERM},
		"writable /proc/sys in a nested user namespace": {unix.EPERM}})
	m.line(t, "inherited descriptors", func(t *testing.T) {
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
	m.line(t, "folder by descriptor", func(t *testing.T) {
		if _, errs, code := m.run(t, "--workdir", "/proc/self/fd/3", "fixture", "true"); code != 125 || !strings.Contains(errs, "hint: ") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
}
