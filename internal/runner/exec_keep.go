package runner

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// keepJoined is what the helper that joins a container does once it has cloned the joined process, whose number and
// descriptor m takes: it is the keeper of that process, and kills it if the host process is gone first. It ends with
// either. It has the container's namespaces and no way back, but no number in its pid namespace: nothing inside sees it.
//
//	send pid and pidfd
//	wait for the joined process or the host process: the joined one has ended -> exit
//	take a message: goodbye -> exit
//	end of file: kill the joined process, exit
func (l *lowering) keepJoined(m message) {
	const pidfd, n, got = slotFS, slotMount, slotAt
	all := ^uint64(0)
	l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, 0, 0, 0, 0)
	l.add("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, hold(l.table, &all), 0, 8)
	l.add("close", unix.SYS_CLOSE, l.fds.errors)
	l.add("sendmsg", unix.SYS_SENDMSG, l.fds.socket, m.addr, unix.MSG_NOSIGNAL)
	l.add("close", unix.SYS_CLOSE, l.fds.socket)
	l.add("close_range", unix.SYS_CLOSE_RANGE, 0, 2, 0) // whoever reads what the command writes waits for its end alone
	l.add("setsid", unix.SYS_SETSID).ignore()
	l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_NAME, keeperName, 0, 0, 0).ignore()
	l.add("close", unix.SYS_CLOSE, l.fds.target)

	p := &[2]unix.PollFd{{Fd: int32(l.fds.keeper), Events: unix.POLLIN}, {Events: unix.POLLIN}}
	l.load(m.fd(0), pidfd)
	l.store(pidfd, &p[1].Fd)
	l.add("ppoll", unix.SYS_PPOLL, hold(l.table, p), 2, 0, 0, 0)
	l.load((*int32)(unsafe.Pointer(&p[1].Events)), n) // both fields: what came is in the upper half
	l.branch(n, unix.POLLIN, l.here()+2)              // nothing
	l.add("exit_group", unix.SYS_EXIT_GROUP, 0)
	l.add("recvmsg", unix.SYS_RECVMSG, l.fds.keeper, l.message(1).addr, unix.MSG_CMSG_CLOEXEC).to(got).ignore() // got stays 0 after an error
	l.branch(got, 0, l.here()+2)
	l.add("exit_group", unix.SYS_EXIT_GROUP, 0)
	l.add("pidfd_send_signal", unix.SYS_PIDFD_SEND_SIGNAL, pidfd, int(unix.SIGKILL), 0, 0).ignore()
	l.add("exit_group", unix.SYS_EXIT_GROUP, 0)
}
