package runner

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Slots of the init's table.
const (
	_          slot = iota
	slotRoot        // the root's mount
	slotAt          // a mount point
	slotFS          // a file system being configured
	slotMount       // a mount not kept
	slotDev         // our /dev
	slotProc        // our /proc
	slotSys         // our /sys
	slotPty         // the terminal's master
	slotPeer        // the terminal
	slotExec        // why the command was not executed so far
	slotDir         // a directory on the way
	slotNext        // the next one
	slotTmp         // the last tmpfs mounted
	slotChild       // the command of a reaper
	slotGroup       // its group, negated
	slotSignal      // a signal, or an exit code
	slotWho         // who has ended, or how
	slotZero        // always 0
	slotName0       // the reaper's name, in words
	slotBind0  slot = 64
)

// inherited is what the init starts with: descriptors, by their numbers in the host process, and a limit.
type inherited struct {
	stdio  [3]int
	socket int
	errors int

	maxFiles uint64 // hard limit of open files

	target, joins int // to join a container: pidfd of its init, and the flags of setns
	keeper        int // what the helper that joins takes the keeper's messages by, 0 if it is none
}

// lowering turns the init's operations into a table.
type lowering struct {
	*table
	spec *Spec
	fds  inherited

	howDir, howFile, howLink uintptr // open_how: directory, anything (both without links), anything through links
	howSize                  uintptr
	empty                    uintptr // ""
}

const howNoLinks = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS

// lower builds the table for the init. Operations of the host are passed over.
func (s *Spec) lower(p Plan, fds inherited) (*table, error) { return s.lowering(fds).all(p) }

func (s *Spec) lowering(fds inherited) *lowering {
	l := &lowering{table: newTable(640), spec: s, fds: fds}
	l.empty = l.str("")
	l.howDir = hold(l.table, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: howNoLinks})
	l.howFile = hold(l.table, &unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: howNoLinks})
	l.howLink = hold(l.table, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	l.howSize = unix.SizeofOpenHow
	l.mem.slot[slotExec] = uintptr(unix.ENOENT)
	return l
}

func (l *lowering) all(p Plan) (*table, error) {
	for i := range p {
		if p[i].Host {
			continue
		}
		l.cur = i
		if err := l.one(&p[i]); err != nil {
			return nil, err
		}
	}
	if l.err != nil {
		return nil, l.err
	}
	return l.table, nil
}

func (l *lowering) one(o *Op) error {
	switch o.Verb {
	case VerbStart:
		l.start()
	case VerbJoin:
		l.join()
	case VerbReady, VerbGo:
		l.await(l.fds.socket, l.message(1))
	case VerbUnshare:
		flags := 0
		for _, ns := range o.Options {
			flags |= unshareFlag(ns)
		}
		l.add("unshare", unix.SYS_UNSHARE, flags)
		if flags&unix.CLONE_NEWNET != 0 {
			l.netCounters()
		}
	case VerbReceive:
		l.receive()
	case VerbBecome:
		l.become()
	case VerbFormat:
		l.format(o)
	case VerbSlave:
		l.add("mount", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_SLAVE, 0)
	case VerbRoot:
		// Any directory will do; nothing outside this namespace sees it. The outer /proc and /sys may still be needed.
		l.add("move_mount", unix.SYS_MOVE_MOUNT, slotRoot, l.empty, at, "/etc", unix.MOVE_MOUNT_F_EMPTY_PATH).tolerate(unix.ENOENT).then = 1
		l.add("move_mount", unix.SYS_MOVE_MOUNT, slotRoot, l.empty, at, "/proc", unix.MOVE_MOUNT_F_EMPTY_PATH)
	case VerbMount:
		l.mount(o)
	case VerbHostSys:
		l.hostTree(o)
	case VerbHidden:
		l.hidden(o)
	case VerbReadOnly:
		l.readOnly(o)
	case VerbMask:
		l.mask(o)
	case VerbNode:
		l.node(o)
	case VerbDir:
		l.add("mkdirat", unix.SYS_MKDIRAT, slotTmp, path.Base(o.Target), int(o.Mode))
	case VerbLink:
		l.add("symlinkat", unix.SYS_SYMLINKAT, o.Source, slotDev, inDev(o.Target))
	case VerbTerminal:
		l.terminal()
	case VerbConsole:
		l.add("open_tree", unix.SYS_OPEN_TREE, slotPeer, l.empty, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH).to(slotMount)
		l.onNewFile(inDev(o.Target))
	case VerbLoopback:
		l.loopback()
	case VerbHostname:
		l.add("sethostname", unix.SYS_SETHOSTNAME, o.Source, len(o.Source)).tolerate(unix.EPERM).told = true // a filter
	case VerbFile:
		l.file(o)
	case VerbBind:
		l.bind(o)
	default:
		return l.last(o)
	}
	return nil
}

// last lowers what comes once everything is mounted.
func (l *lowering) last(o *Op) error {
	switch o.Verb {
	case VerbSealRoot:
		a := hold(l.table, &unix.MountAttr{Attr_set: o.Attrs})
		l.add("mount_setattr", unix.SYS_MOUNT_SETATTR, slotRoot, l.empty, unix.AT_EMPTY_PATH, a, unix.MOUNT_ATTR_SIZE_VER0)
	case VerbPivot:
		l.pivot()
	case VerbChroot:
		l.chroot()
	case VerbInit:
		l.reaper()
	case VerbSession:
		l.session(o)
	case VerbCloseRest:
		if l.fds.joins != 0 && !l.spec.TTY { // the answer is still to come
			l.closeAllBut(min(l.fds.socket, l.fds.errors), max(l.fds.socket, l.fds.errors))
			break
		}
		l.closeAllBut(l.fds.errors)
	case VerbWorkdir:
		l.add("chdir", unix.SYS_CHDIR, o.Target)
	case VerbLinux32:
		const linux32 = 8 // PER_LINUX32, unknown to an arm64 without 32 bits: an emulator answers uname there
		l.add("personality", unix.SYS_PERSONALITY, linux32).tolerate(unix.EINVAL)
	case VerbNoPrivs:
		l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	case VerbFilter:
		filter := fsyncFilter
		switch o.Type {
		case "default":
			filter = defaultFilter
		case "no-trace":
			filter = traceFilter
		case "fake-ids":
			filter = func(t *table) uintptr { return idFilter(t, false) }
		}
		l.add("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, filter(l.table))
	case VerbOwners:
		l.owners()
	case VerbUser:
		l.user()
	case VerbCaps:
		return l.capabilities(o)
	case VerbExec:
		l.exec(o)
	default:
		return fmt.Errorf("lower the plan: unknown operation %q", o.Verb)
	}
	return nil
}

func inDev(target string) string { return strings.TrimPrefix(target, "/dev/") }

// attach puts the mount in a slot on the mount point in slotAt. No path is resolved.
func (l *lowering) attach(m slot) {
	l.add("move_mount", unix.SYS_MOVE_MOUNT, m, l.empty, slotAt, l.empty, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	l.close(slotAt)
}

// mountpoint opens a directory of the root, made if it is not there, in slotAt. In a copy a link or a file in the way
// goes first (unlinkat leaves directories alone); whatever is there in the end must be a directory and no link.
func (l *lowering) mountpoint(o *Op) {
	if strings.HasPrefix(o.Target, "/dev/") {
		l.add("mkdirat", unix.SYS_MKDIRAT, slotDev, inDev(o.Target), 0o755).tolerate(unix.EEXIST)
		l.add("openat2", unix.SYS_OPENAT2, slotDev, inDev(o.Target), l.howDir, l.howSize).again().to(slotAt)
		return
	}
	if path.Dir(o.Target) != "/" {
		l.walk(o.Target)
		return
	}
	name := o.Target[1:]
	// Mostly it is there. To write to an overlay costs, even in vain.
	l.add("openat2", unix.SYS_OPENAT2, slotRoot, name, l.howDir, l.howSize).again().ignore().to(slotAt)
	from := l.here()
	if o.Replace {
		l.add("unlinkat", unix.SYS_UNLINKAT, slotRoot, name, 0).ignore()
	}
	l.add("mkdirat", unix.SYS_MKDIRAT, slotRoot, name, 0o755).tolerate(unix.EEXIST)
	l.add("openat2", unix.SYS_OPENAT2, slotRoot, name, l.howDir, l.howSize).again().to(slotAt)
	l.calls[from-1].then = uint16(l.here() - from)
}

// filesystem makes a new mount of a type in slot m.
func (l *lowering) filesystem(typ string, attrs uint64, options []string, m slot) {
	l.add("fsopen "+typ, unix.SYS_FSOPEN, typ, unix.FSOPEN_CLOEXEC).to(slotFS)
	for _, o := range options {
		if k, v, ok := strings.Cut(o, "="); ok {
			l.add("fsconfig "+o, unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_SET_STRING, k, v, 0)
		} else {
			l.add("fsconfig "+o, unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_SET_FLAG, o, 0, 0)
		}
	}
	l.add("fsconfig create", unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	l.add("fsmount", unix.SYS_FSMOUNT, slotFS, unix.FSMOUNT_CLOEXEC, attrs).to(m)
	l.close(slotFS)
}

func (l *lowering) mount(o *Op) {
	l.mountpoint(o)
	keep := slotTmp
	switch o.Target {
	case "/proc":
		keep = slotProc
	case "/sys":
		keep = slotSys
	case "/dev":
		keep = slotDev
	}
	if o.Type == "proc" || o.Type == "sysfs" {
		l.ownOrOuter(o, keep)
	} else {
		l.filesystem(o.Type, o.Attrs, o.Options, keep)
	}
	l.attach(keep)
}

func (l *lowering) hostTree(o *Op) {
	l.mountpoint(o)
	to := slotSys
	if o.Target == "/proc" {
		to = slotProc
	}
	l.add("open_tree", unix.SYS_OPEN_TREE, at, o.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE).to(to)
	a := hold(l.table, &unix.MountAttr{Attr_set: o.Attrs, Propagation: unix.MS_PRIVATE})
	l.add("mount_setattr", unix.SYS_MOUNT_SETATTR, to, l.empty, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, a, unix.MOUNT_ATTR_SIZE_VER0)
	l.attach(to)
}

// base gives the mount that holds a path of /proc or /sys and the path in it.
func base(target string) (slot, string) {
	if rest, ok := strings.CutPrefix(target, "/sys/"); ok {
		return slotSys, rest
	}
	return slotProc, strings.TrimPrefix(target, "/proc/")
}

// optional opens a path of /proc or /sys in slotAt; if it is not there, then is left out.
func (l *lowering) optional(target string, then func()) {
	fs, name := base(target)
	i := l.here()
	l.add("openat2", unix.SYS_OPENAT2, fs, name, l.howFile, l.howSize).again().to(slotAt).tolerate(unix.ENOENT)
	then()
	l.calls[i].skip(l.here() - i - 1)
}

func (l *lowering) readOnly(o *Op) {
	l.optional(o.Target, func() {
		// With what is mounted below: in an outer /proc it could not be left out.
		l.add("open_tree", unix.SYS_OPEN_TREE, slotAt, l.empty, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE).to(slotMount)
		a := hold(l.table, &unix.MountAttr{Attr_set: o.Attrs})
		l.add("mount_setattr", unix.SYS_MOUNT_SETATTR, slotMount, l.empty, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, a, unix.MOUNT_ATTR_SIZE_VER0)
		l.attach(slotMount)
		l.close(slotMount)
	})
}

func (l *lowering) mask(o *Op) {
	l.optional(o.Target, func() {
		if o.Type == "dir" {
			l.filesystem("tmpfs", o.Attrs, []string{"mode=555", "nr_inodes=1"}, slotMount)
		} else {
			l.add("openat2", unix.SYS_OPENAT2, slotDev, "null", l.howFile, l.howSize).again().to(slotDir)
			l.add("open_tree", unix.SYS_OPEN_TREE, slotDir, l.empty, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH).to(slotMount)
			l.close(slotDir)
		}
		l.attach(slotMount)
		l.close(slotMount)
	})
}

// node binds a device node of the host: making one is not possible in a user namespace. The mount is read-only, which
// leaves the device writable but keeps the host's node from chmod and chown.
func (l *lowering) node(o *Op) {
	l.add("open_tree", unix.SYS_OPEN_TREE, at, o.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC).to(slotMount)
	a := hold(l.table, &unix.MountAttr{Attr_set: o.Attrs, Propagation: unix.MS_PRIVATE})
	l.add("mount_setattr", unix.SYS_MOUNT_SETATTR, slotMount, l.empty, unix.AT_EMPTY_PATH, a, unix.MOUNT_ATTR_SIZE_VER0)
	l.onNewFile(inDev(o.Target))
}

// onNewFile attaches slotMount to a new empty file of our /dev.
func (l *lowering) onNewFile(name string) {
	l.add("openat", unix.SYS_OPENAT, slotDev, name, unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o666).to(slotAt)
	l.attach(slotMount)
	l.close(slotMount)
}
