package runner

//go:generate env SECCOMP_UPDATE=1 go test -run TestSeccompTables .

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// verdict is what the default filter says to a call number.
type verdict uint8

const (
	vUnknown verdict = iota // ENOSYS, so that a C library falls back to an older call
	vAllow
	vDeny // EPERM
	vClone
	vIoctl
	vPersonality
	vSocket
)

// callSpan gives all numbers from one on, up to the next span, the same verdict.
type callSpan struct {
	from    uint32
	verdict verdict
}

// callTable is one system call table of the machine.
type callTable struct {
	arch  uint32
	spans []callSpan
}

func callTables() []callTable {
	switch runtime.GOARCH {
	case "amd64":
		return []callTable{{unix.AUDIT_ARCH_X86_64, callsAMD64[:]}, {unix.AUDIT_ARCH_I386, calls386[:]}}
	case "arm64":
		return []callTable{{unix.AUDIT_ARCH_AARCH64, callsARM64[:]}, {unix.AUDIT_ARCH_ARM, callsARM[:]}}
	}
	return nil
}

// newNamespaces are the flags of clone that make a namespace.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

const (
	bpfLoad  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfAtLst = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	bpfSet   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	bpfJump  = unix.BPF_JMP | unix.BPF_JA
	bpfRet   = unix.BPF_RET | unix.BPF_K
	// offset of argument 0's low half in struct seccomp_data, on processors of this byte order
	bpfArg0 = 16
)

// Constant, in fact: initialised by the linker.
var (
	retAllow = unix.SockFilter{Code: bpfRet, K: unix.SECCOMP_RET_ALLOW}
	retDeny  = unix.SockFilter{Code: bpfRet, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	retNone  = unix.SockFilter{Code: bpfRet, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)}
)

// defaultProgram allows what is listed and nothing else: the architecture first, because the numbers of another table
// mean other calls, then the number by binary search. x32 has numbers beyond every list, so none of its calls is known.
func defaultProgram(tables []callTable) []unix.SockFilter {
	f := make([]unix.SockFilter, 0, 1200)
	for _, t := range tables {
		body := searchCalls(t.spans)
		f = append(f,
			unix.SockFilter{Code: bpfLoad, K: 4},
			unix.SockFilter{Code: bpfEqual, K: t.arch, Jt: 1},
			unix.SockFilter{Code: bpfJump, K: uint32(len(body) + 1)}, // to the next table
			unix.SockFilter{Code: bpfLoad, K: 0})
		f = append(f, body...)
	}
	return append(f, retDeny)
}

// searchCalls decides the number in the accumulator.
func searchCalls(s []callSpan) []unix.SockFilter {
	if len(s) == 1 {
		return judge(s[0].verdict)
	}
	half := len(s) / 2
	below, above := searchCalls(s[:half]), searchCalls(s[half:])
	head := []unix.SockFilter{{Code: bpfAtLst, K: s[half].from, Jt: uint8(min(len(below), 255))}}
	if len(below) > 255 {
		head = []unix.SockFilter{{Code: bpfAtLst, K: s[half].from, Jf: 1}, {Code: bpfJump, K: uint32(len(below))}}
	}
	return append(append(head, below...), above...)
}

// judge is a verdict as instructions. The kernel, too, looks at no more than the low half of the arguments checked here.
func judge(v verdict) []unix.SockFilter {
	load := func(arg uint32) unix.SockFilter { return unix.SockFilter{Code: bpfLoad, K: bpfArg0 + 8*arg} }
	switch v {
	case vAllow:
		return []unix.SockFilter{retAllow}
	case vDeny:
		return []unix.SockFilter{retDeny}
	case vClone: // no new namespace
		return []unix.SockFilter{load(0), {Code: bpfSet, K: newNamespaces, Jf: 1}, retDeny, retAllow}
	case vIoctl: // nothing typed into a terminal for its reader
		return []unix.SockFilter{load(1), {Code: bpfEqual, K: unix.TIOCSTI, Jt: 1}, {Code: bpfEqual, K: unix.TIOCLINUX, Jf: 1}, retDeny, retAllow}
	case vSocket: // no socket to the hypervisor
		return []unix.SockFilter{load(0), {Code: bpfEqual, K: unix.AF_VSOCK, Jf: 1}, retDeny, retAllow}
	case vPersonality: // a Linux of 64 or 32 bits, each with UNAME26 or without, or a question
		return []unix.SockFilter{load(0), {Code: bpfEqual, K: 0, Jt: 5}, {Code: bpfEqual, K: 8, Jt: 4},
			{Code: bpfEqual, K: 0x20000, Jt: 3}, {Code: bpfEqual, K: 0x20008, Jt: 2}, {Code: bpfEqual, K: 0xffffffff, Jt: 1}, retDeny, retAllow}
	}
	return []unix.SockFilter{retNone}
}

// defaultFilter puts the program where the child finds it.
func defaultFilter(t *table) uintptr {
	f := defaultProgram(callTables())
	t.keep = append(t.keep, f)
	return hold(t, &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]})
}
