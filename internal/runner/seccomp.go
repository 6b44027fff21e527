package runner

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// fsyncNumbers are fsync, fdatasync, sync, syncfs, msync and sync_file_range for one system call table. A program of
// another word size uses another table, so the architecture is looked at before the number.
type fsyncNumbers struct {
	arch    uint32
	clear   uint32 // bits of the number to ignore: x32 calls are the native ones with a bit set
	numbers [6]uint32
}

func fsyncTables() []fsyncNumbers {
	switch runtime.GOARCH {
	case "amd64":
		return []fsyncNumbers{
			{unix.AUDIT_ARCH_X86_64, 0x40000000, [6]uint32{74, 75, 162, 306, 26, 277}},
			{unix.AUDIT_ARCH_I386, 0, [6]uint32{118, 148, 36, 344, 144, 314}},
		}
	case "arm64":
		return []fsyncNumbers{
			{unix.AUDIT_ARCH_AARCH64, 0, [6]uint32{82, 83, 81, 267, 227, 84}},
			{unix.AUDIT_ARCH_ARM, 0, [6]uint32{118, 148, 36, 373, 144, 341}},
		}
	}
	return nil
}

// fsyncProgram makes those calls return 0 at once and allows everything else. It is no protection, only speed.
func fsyncProgram(tables []fsyncNumbers) []unix.SockFilter {
	return answerProgram(tables, unix.SECCOMP_RET_ERRNO)
}

// traceTables are ptrace, process_vm_readv, process_vm_writev, kcmp, pidfd_getfd and process_madvise.
func traceTables() []fsyncNumbers {
	switch runtime.GOARCH {
	case "amd64":
		return []fsyncNumbers{
			{unix.AUDIT_ARCH_X86_64, 0x40000000, [6]uint32{101, 310, 311, 312, 438, 440}},
			{unix.AUDIT_ARCH_I386, 0, [6]uint32{26, 347, 348, 349, 438, 440}},
		}
	case "arm64":
		return []fsyncNumbers{
			{unix.AUDIT_ARCH_AARCH64, 0, [6]uint32{117, 270, 271, 272, 438, 440}},
			{unix.AUDIT_ARCH_ARM, 0, [6]uint32{26, 376, 377, 378, 438, 440}},
		}
	}
	return nil
}

// traceFilter keeps a command that shares users and processes with the host out of the memory and the open files of
// those that its ids would let it trace: root, which becomes their user, reaches the host's files through them.
func traceFilter(t *table) uintptr {
	f := answerProgram(traceTables(), unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM))
	t.keep = append(t.keep, f)
	return hold(t, &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]})
}

// answerProgram gives those calls one answer and allows everything else.
func answerProgram(tables []fsyncNumbers, answer uint32) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		and   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
		// offsets in struct seccomp_data
		offNr, offArch = 0, 4
	)
	var f []unix.SockFilter
	for _, t := range tables {
		n := uint8(len(t.numbers))
		f = append(f,
			unix.SockFilter{Code: load, K: offArch},
			unix.SockFilter{Code: equal, K: t.arch, Jf: 2 + n + 2}, // to the next table
			unix.SockFilter{Code: load, K: offNr},
			unix.SockFilter{Code: and, K: ^t.clear},
		)
		for i, nr := range t.numbers {
			f = append(f, unix.SockFilter{Code: equal, K: nr, Jt: n - uint8(i)}) // to the second ret
		}
		f = append(f, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW}, unix.SockFilter{Code: ret, K: answer})
	}
	return append(f, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// fsyncFilter puts the program where the child finds it.
func fsyncFilter(t *table) uintptr {
	f := fsyncProgram(fsyncTables())
	t.keep = append(t.keep, f)
	return hold(t, &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]})
}
