package runner

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// capBits returns the set of the named capabilities.
func capBits(names []string) (uint64, error) {
	var bits uint64
	for _, n := range names {
		i, ok := capNumber(n)
		if !ok {
			return 0, &SpecError{Problem: fmt.Sprintf("unknown capability %q", n), Fix: "use a name like CAP_CHOWN; see capabilities(7)"}
		}
		bits |= 1 << i
	}
	return bits, nil
}

// AllCaps are the capabilities that capabilities(7) knows, in the kernel's order.
func AllCaps() []string {
	names := capNames()
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = "CAP_" + n
	}
	return all
}

// capNumber finds a capability by its name of capabilities(7), with or without CAP_, in any case.
func capNumber(name string) (uint, bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	for i, n := range capNames() {
		if n == name {
			return uint(i), true
		}
	}
	return 0, false
}

func capNames() [41]string {
	return [...]string{
		"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
		"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
		"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
		"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
		"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
		"CHECKPOINT_RESTORE",
	}
}

const lastCap = unix.CAP_LAST_CAP
