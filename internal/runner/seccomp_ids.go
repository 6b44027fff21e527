package runner

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// idNumbers are the calls of one system call table that need ids which a user with one id has not.
type idNumbers struct {
	arch  uint32
	clear uint32 // as in fsyncNumbers
	fake  []uint32
	// chown can be asked about on this table, or is faked; the others are asked about or left alone.
	chown, others []uint32
	mknod         [2]uint32 // mknod (0 if there is none) and mknodat: the mode is argument 1 and 2
}

func idTables() []idNumbers {
	switch runtime.GOARCH {
	case "amd64":
		return []idNumbers{{
			arch: unix.AUDIT_ARCH_X86_64, clear: 0x40000000,
			fake:   []uint32{105, 106, 113, 114, 116, 117, 119, 122, 123},
			chown:  []uint32{sysChown, sysLchown, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT},
			others: []uint32{sysStat, sysLstat, unix.SYS_FSTAT, sysFstatat, unix.SYS_STATX, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR},
			mknod:  [2]uint32{133, 259},
		}, {
			arch: unix.AUDIT_ARCH_I386,
			// The chowns of 16 bits (16, 95, 182) are of no program with packages.
			fake:   []uint32{23, 46, 70, 71, 81, 138, 139, 164, 170, 203, 204, 206, 208, 210, 213, 214, 215, 216, 16, 95, 182},
			chown:  []uint32{i386Lchown, i386Fchown, i386Chown, i386Fchownat},
			others: []uint32{i386Stat, i386Lstat, i386Fstat, i386Fstatat, i386Statx, i386Setxattr, i386Lsetxattr, i386Fsetxattr},
			mknod:  [2]uint32{14, 297},
		}}
	case "arm64":
		return []idNumbers{{
			arch:   unix.AUDIT_ARCH_AARCH64,
			fake:   []uint32{143, 144, 145, 146, 147, 149, 151, 152, 159},
			chown:  []uint32{unix.SYS_FCHOWN, unix.SYS_FCHOWNAT},
			others: []uint32{unix.SYS_FSTAT, sysFstatat, unix.SYS_STATX, unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR},
			mknod:  [2]uint32{0, 33},
		}, {
			arch: unix.AUDIT_ARCH_ARM,
			fake: []uint32{23, 46, 70, 71, 81, 138, 139, 164, 170, 203, 204, 206, 208, 210, 213, 214, 215, 216,
				16, 95, 182, 198, 207, 212, 325},
			mknod: [2]uint32{14, 324},
		}}
	}
	return nil
}

// idProgram lets changes of ids and the making of devices succeed without doing anything. With ask, changes of owners and
// questions for them go to the host process, which keeps what the disk cannot.
func idProgram(tables []idNumbers, ask bool) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		and   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
		// offsets in struct seccomp_data
		offNr, offArch, offArgs = 0, 4, 16
	)
	var f []unix.SockFilter
	for _, t := range tables {
		var s []unix.SockFilter
		on := func(numbers []uint32, action uint32) {
			for _, n := range numbers {
				s = append(s, unix.SockFilter{Code: equal, K: n, Jf: 1}, unix.SockFilter{Code: ret, K: action})
			}
		}
		on(t.fake, unix.SECCOMP_RET_ERRNO)
		if ask {
			on(t.chown, unix.SECCOMP_RET_USER_NOTIF)
			on(t.others, unix.SECCOMP_RET_USER_NOTIF)
		} else {
			on(t.chown, unix.SECCOMP_RET_ERRNO)
		}
		for i, n := range t.mknod {
			if n == 0 {
				continue
			}
			s = append(s,
				unix.SockFilter{Code: equal, K: n, Jf: 6},
				unix.SockFilter{Code: load, K: offArgs + 8*uint32(i+1)},
				unix.SockFilter{Code: and, K: unix.S_IFMT},
				unix.SockFilter{Code: equal, K: unix.S_IFCHR, Jt: 2},
				unix.SockFilter{Code: equal, K: unix.S_IFBLK, Jt: 1},
				unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW},
				unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO})
		}
		f = append(f,
			unix.SockFilter{Code: load, K: offArch},
			unix.SockFilter{Code: equal, K: t.arch, Jf: uint8(len(s) + 3)}, // to the next table
			unix.SockFilter{Code: load, K: offNr},
			unix.SockFilter{Code: and, K: ^t.clear})
		f = append(append(f, s...), unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
	}
	return append(f, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// idFilter puts the program where the child finds it.
func idFilter(t *table, ask bool) uintptr {
	f := idProgram(idTables(), ask)
	t.keep = append(t.keep, f)
	return hold(t, &unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]})
}
