package runner

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// initName is what ps shows for the reaper.
const initName = "rootctl-init"

// Offsets in the siginfo_t of waitid.
const (
	infoCode   = 8
	infoPID    = 16
	infoStatus = 24
)

// reaper splits the init: the child goes on and becomes the command, the init itself stays in the table for good.
//
//	wait for a signal
//	not CHLD: to the command's group, wait again
//	CHLD: reap all that ended; the command among them: exit with its code, 128+n for signal n
//
// No program is executed for it, so there is none that the container could read or replace, and its memory, which is
// that of the host process, cannot be looked into from inside: it is undumpable and belongs to the outer namespace.
func (l *lowering) reaper() {
	all, none := ^uint64(0), uint64(0)
	everything := hold(l.table, &all)
	l.add("setsid", unix.SYS_SETSID)
	if l.spec.chrooted() {
		l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	l.add("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, everything, 0, 8)
	l.add("clone", unix.SYS_CLONE, int(syscall.SIGCHLD), 0, 0, 0, 0).to(slotChild)
	command := l.branch(slotChild, 0, 0)
	l.push("negate", call{kind: kindNegate, out: slotGroup, value: uintptr(slotChild)})
	if l.spec.chrooted() { // its end says that the command has ended
		l.add("close_range", unix.SYS_CLOSE_RANGE, 0, l.fds.socket-1, 0)
		l.add("close_range", unix.SYS_CLOSE_RANGE, l.fds.socket+1, uint64(^uint32(0)), 0)
	} else {
		l.add("close_range", unix.SYS_CLOSE_RANGE, 0, uint64(^uint32(0)), 0)
	}
	l.rename()
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	sets := &[2]unix.CapUserData{{Effective: 1 << unix.CAP_KILL, Permitted: 1 << unix.CAP_KILL}}
	l.add("capset", unix.SYS_CAPSET, hold(l.table, header), hold(l.table, sets))

	info := l.bytes(128)
	field := func(offset int) *int32 { return (*int32)(unsafe.Pointer(&info[offset])) }
	wait := l.here()
	l.add("rt_sigtimedwait", unix.SYS_RT_SIGTIMEDWAIT, everything, 0, 0, 8).to(slotSignal)
	chld := l.branch(slotSignal, uintptr(syscall.SIGCHLD), 0)
	l.add("kill", unix.SYS_KILL, slotGroup, slotSignal).ignore()
	l.branch(slotZero, 0, wait)

	reapAll := l.here()
	l.calls[chld].jump = uint16(reapAll)
	l.add("waitid", unix.SYS_WAITID, unix.P_ALL, 0, hold(l.table, &info[0]), unix.WEXITED|unix.WNOHANG, 0)
	l.load(field(infoPID), slotWho)
	l.branch(slotWho, 0, wait)
	l.push("same", call{kind: kindSame, out: slotWho, value: uintptr(slotChild), jump: uint16(l.here() + 2)})
	l.branch(slotZero, 0, reapAll)

	l.load(field(infoStatus), slotSignal)
	l.load(field(infoCode), slotWho)
	const exited = 1 // CLD_EXITED
	exit := l.branch(slotWho, exited, 0)
	l.push("add", call{kind: kindAdd, out: slotSignal, value: 128})
	l.calls[exit].jump = uint16(l.here())
	if l.spec.chrooted() { // the host process kills the others; only then is there nobody left to wait for
		l.add("close", unix.SYS_CLOSE, l.fds.socket)
		rest := l.here()
		l.add("waitid", unix.SYS_WAITID, unix.P_ALL, 0, 0, unix.WEXITED, 0).tolerate(unix.ECHILD).skip(1)
		l.branch(slotZero, 0, rest)
	}
	l.add("exit_group", unix.SYS_EXIT_GROUP, slotSignal)

	l.calls[command].jump = uint16(l.here())
	l.add("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, hold(l.table, &none), 0, 8)
}

// reaps says whether the init has become the reaper, which blocks all signals by then. What it blocks is not to be seen while
// it waits for them.
func reaps(pid int) bool {
	b, err := os.ReadFile(procPath(pid, "comm"))
	return err == nil && string(b) == initName+"\n"
}

// rename writes over the command line of the host process, which /proc/1/cmdline would show to all inside.
func (l *lowering) rename() {
	l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_NAME, initName, 0, 0, 0).ignore()
	area := argArea(os.Args)
	for at := 0; at < len(area); at += 4 {
		from, word := at, slotZero
		switch {
		case at+4 > len(area):
			from = len(area) - 4
		case at < len(initName) && len(area) > len(initName)+4:
			word = slotName0 + slot(at/4)
		}
		l.store(word, (*int32)(unsafe.Pointer(&area[from])))
	}
	for i := range len(initName) / 4 {
		l.mem.slot[slotName0+slot(i)] = uintptr(*(*uint32)(unsafe.Pointer(unsafe.StringData(initName[4*i:]))))
	}
}

// argArea is the memory of the command line, where the kernel reads it; nil if args is a copy. Only a forked child may
// write to it.
func argArea(args []string) []byte {
	if len(args) == 0 || len(args[0]) == 0 {
		return nil
	}
	first, n := unsafe.StringData(args[0]), len(args[0])
	for _, a := range args[1:] {
		if len(a) == 0 || unsafe.StringData(a) != (*byte)(unsafe.Add(unsafe.Pointer(first), n+1)) {
			break // an empty one has no address
		}
		n += 1 + len(a)
	}
	if n < 4 || n > 64<<10 {
		return nil
	}
	return unsafe.Slice(first, n)
}
