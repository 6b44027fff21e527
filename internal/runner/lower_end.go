package runner

import (
	"encoding/binary"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// start makes the init die with its parent, gives it its stdio and closes everything else at once, so that no lock of
// the host process is held here.
func (l *lowering) start() {
	l.mortal()
	l.stdio()
	l.closeAllBut(min(l.fds.socket, l.fds.errors), max(l.fds.socket, l.fds.errors))
	l.reset()
}

// stdio puts the standard files in their places.
func (l *lowering) stdio() {
	if l.fds.stdio != [3]int{0, 1, 2} {
		for i, fd := range l.fds.stdio {
			l.add("fcntl", unix.SYS_FCNTL, fd, unix.F_DUPFD_CLOEXEC, 16).to(slotBind0 + slot(i))
		}
		for i := range l.fds.stdio {
			l.add("dup3", unix.SYS_DUP3, slotBind0+slot(i), i, 0)
		}
	}
}

// lastSignal is the last real-time signal: GNU make, for one, starts its commands with 32 and 33 ignored.
const lastSignal = 64

// reset undoes what a process inherits unseen: ignored and blocked signals (a job started in the background of a script
// ignores INT), and the limit of open files that the Go runtime has raised, with which old programs that close every
// possible descriptor take minutes.
func (l *lowering) reset() {
	none := hold(l.table, &[8]uint64{})
	for sig := 1; sig <= lastSignal; sig++ {
		if sig != int(unix.SIGKILL) && sig != int(unix.SIGSTOP) {
			l.add("rt_sigaction", unix.SYS_RT_SIGACTION, sig, none, 0, 8)
		}
	}
	l.add("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, none, 0, 8)
	limit := &unix.Rlimit{Cur: l.fds.maxFiles, Max: l.fds.maxFiles}
	limit.Cur = min(limit.Cur, 1024)
	l.add("prlimit64", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, hold(l.table, limit), 0)
}

// mortal is repeated after a change of ids, which clears both settings.
func (l *lowering) mortal() {
	if !l.spec.chrooted() {
		l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0)
	}
	l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// receive waits for the host process; end of file means that it is gone.
func (l *lowering) receive() {
	m := l.message(1 + len(l.spec.Binds))
	l.await(l.fds.socket, m)
	l.load(m.fd(0), slotRoot)
	for i := range l.spec.Binds {
		l.load(m.fd(1+i), slotBind0+slot(i))
	}
}

func (l *lowering) become() {
	groups := l.add("setgroups", unix.SYS_SETGROUPS, 0, 0)
	if l.spec.chrooted() {
		groups.tolerate(unix.EPERM) // outer containers may be without the right
	}
	if l.spec.singleID() {
		groups.tolerate(unix.EPERM) // who maps but one id keeps their groups: the kernel demands it
	}
	l.add("setresgid", unix.SYS_SETRESGID, 0, 0, 0)
	l.add("setresuid", unix.SYS_SETRESUID, 0, 0, 0)
	l.mortal()
	l.add("umask", unix.SYS_UMASK, 0)
}

// terminal opens a terminal of our devpts. The master is reached through the descriptor of our /dev and the terminal
// through the master, so no path of the container is walked. The host process sets the size before it answers.
func (l *lowering) terminal() {
	if l.fds.joins != 0 { // the container has been running: its own /dev is no descriptor any more, and the host process checks what comes
		how := hold(l.table, &unix.OpenHow{Flags: unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
		l.add("openat2", unix.SYS_OPENAT2, at, "/dev/pts/ptmx", how, l.howSize).again().to(slotPty)
	} else if l.spec.chrooted() { // the host's: its number means nothing inside
		l.add("openat", unix.SYS_OPENAT, at, "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC).to(slotPty)
	} else if l.spec.Bare {
		l.bareTerminals()
	} else {
		l.add("openat", unix.SYS_OPENAT, slotDev, "pts/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW).to(slotPty)
	}
	l.add("ioctl TIOCSPTLCK", unix.SYS_IOCTL, slotPty, unix.TIOCSPTLCK, string(make([]byte, 4)))
	l.add("ioctl TIOCGPTPEER", unix.SYS_IOCTL, slotPty, unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC).to(slotPeer)
	m, ack := l.message(1), l.message(1)
	l.store(slotPty, m.fd(0))
	l.add("sendmsg", unix.SYS_SENDMSG, l.fds.socket, m.addr, unix.MSG_NOSIGNAL)
	l.close(slotPty)
	l.add("recvmsg", unix.SYS_RECVMSG, l.fds.socket, ack.addr, unix.MSG_CMSG_CLOEXEC).expect(1)
}

func (l *lowering) loopback() {
	ifr := l.bytes(40)
	copy(ifr, "lo")
	binary.NativeEndian.PutUint16(ifr[16:], unix.IFF_UP|unix.IFF_RUNNING)
	l.add("socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).to(slotMount)
	l.add("ioctl SIOCSIFFLAGS", unix.SYS_IOCTL, slotMount, unix.SIOCSIFFLAGS, string(ifr))
	l.close(slotMount)
}

// file writes a file in a directory of the copy that is no link, in place of whatever had the name.
func (l *lowering) file(o *Op) {
	dir := Op{Target: path.Dir(o.Target), Replace: o.Replace}
	l.mountpoint(&dir)
	name := path.Base(o.Target)
	l.add("unlinkat", unix.SYS_UNLINKAT, slotAt, name, 0).tolerate(unix.ENOENT)
	l.add("openat", unix.SYS_OPENAT, slotAt, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, int(o.Mode)).to(slotMount)
	if len(o.Data) > 0 {
		l.add("write", unix.SYS_WRITE, slotMount, string(o.Data), len(o.Data)).expect(len(o.Data))
	}
	l.close(slotMount)
	l.close(slotAt)
}

// walk makes and opens a directory deep in the root, following links as they would lead inside it. The result is in
// slotAt. Each step makes one name in the directory opened before and then resolves the whole path so far anew.
func (l *lowering) walk(target string) {
	names := strings.Split(strings.Trim(target, "/"), "/")
	from := slotRoot
	for i, n := range names {
		l.add("mkdirat", unix.SYS_MKDIRAT, from, n, 0o755).tolerate(unix.EEXIST, unix.EROFS)
		to := slotDir
		if from == slotDir {
			to = slotNext
		}
		if i == len(names)-1 {
			to = slotAt
		}
		l.add("openat2", unix.SYS_OPENAT2, slotRoot, strings.Join(names[:i+1], "/"), l.howLink, l.howSize).again().to(to)
		if from != slotRoot {
			l.close(from)
		}
		from = to
	}
}

func (l *lowering) bind(o *Op) {
	if o.Type == "dir" {
		l.walk(o.Target)
	} else {
		parent, name := path.Split(o.Target)
		from := slotRoot
		if parent != "/" {
			l.walk(parent)
			from = slotAt
		}
		l.add("mknodat", unix.SYS_MKNODAT, from, name, unix.S_IFREG|0o644, 0).tolerate(unix.EEXIST, unix.EROFS)
		if from == slotAt {
			l.close(slotAt)
		}
		l.add("openat2", unix.SYS_OPENAT2, slotRoot, strings.Trim(o.Target, "/"), l.howLink, l.howSize).again().to(slotAt)
	}
	l.attach(slotBind0 + slot(o.Index))
}

func (l *lowering) pivot() {
	l.add("fchdir", unix.SYS_FCHDIR, slotRoot)
	l.add("pivot_root", unix.SYS_PIVOT_ROOT, ".", ".")
	l.add("umount2", unix.SYS_UMOUNT2, ".", unix.MNT_DETACH)
	l.add("chdir", unix.SYS_CHDIR, "/")
}

func (l *lowering) session(o *Op) {
	l.add("setsid", unix.SYS_SETSID)
	if l.spec.TTY {
		if u := l.spec.User; u != nil && u.UID != 0 { // else it could not open /dev/tty's own name
			l.add("fchown", unix.SYS_FCHOWN, slotPeer, int(u.UID), -1)
		}
		l.add("ioctl TIOCSCTTY", unix.SYS_IOCTL, slotPeer, unix.TIOCSCTTY, 0)
		for i := range 3 {
			l.add("dup3", unix.SYS_DUP3, slotPeer, i, 0)
		}
	}
	// Keys of the host's session stay there. Without keyrings in the kernel there is nothing to leave.
	l.add("keyctl", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).ignore()
	l.add("umask", unix.SYS_UMASK, int(o.Mode))
}

// owners sets up the filter and sends its listener to the host process. The socket is still open.
func (l *lowering) owners() {
	l.add("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, idFilter(l.table, true)).to(slotMount)
	m := l.message(1)
	l.store(slotMount, m.fd(0))
	l.add("sendmsg", unix.SYS_SENDMSG, l.fds.socket, m.addr, unix.MSG_NOSIGNAL)
	l.close(slotMount)
}

func (l *lowering) capabilities(o *Op) error {
	keep, err := capBits(o.Options)
	if err != nil {
		return err
	}
	drop := []unix.Errno{unix.EINVAL} // the first number that the kernel does not know ends the list
	if l.spec.chrooted() {            // no_new_privs stands in where the right to drop is missing
		keep, drop = keep&permitted(), append(drop, unix.EPERM)
	}
	for i := range 64 {
		if keep&(1<<i) == 0 {
			l.add("prctl PR_CAPBSET_DROP", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, i, 0, 0, 0).tolerate(drop...)
		}
		if i > lastCap {
			break
		}
	}
	if u := l.spec.User; u != nil && u.UID != 0 {
		return nil // the change of users takes them all
	}
	h := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	d := &[2]unix.CapUserData{}
	for i := range d {
		w := uint32(keep >> (32 * i))
		d[i] = unix.CapUserData{Effective: w, Permitted: w}
	}
	l.add("capset", unix.SYS_CAPSET, hold(l.table, h), hold(l.table, d))
	return nil
}

// defaultPath is searched if the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// exec tries the command as execvp does.
func (l *lowering) exec(o *Op) {
	name := o.Options[0]
	argv, env := l.vector(o.Options), l.vector(l.spec.Env)
	try := func(file string) {
		c := l.add("execve", unix.SYS_EXECVE, file, argv, env).to(slotExec)
		c.kind = kindExec
	}
	if strings.Contains(name, "/") {
		try(name)
	} else {
		dirs := lookupEnv(l.spec.Env, "PATH")
		if dirs == "" {
			dirs = defaultPath
		}
		for _, d := range strings.Split(dirs, ":") {
			if d == "" {
				d = "."
			}
			try(d + "/" + name)
		}
	}
	l.push("execve", call{kind: kindFail, out: slotExec})
}
