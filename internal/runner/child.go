package runner

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// fork clones the init, which then waits for feed.
func (c *container) fork(stdio [3]int) (*table, error) {
	op := c.plan.find(VerbClone)
	sp, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, stepError(op, "socketpair", err)
	}
	c.sock = sp[0]
	theirs := os.NewFile(uintptr(sp[1]), "init socket")
	defer theirs.Close()
	var ep [2]int
	if err := unix.Pipe2(ep[:], unix.O_CLOEXEC); err != nil {
		return nil, stepError(op, "pipe2", err)
	}
	c.errs = ep[0]
	errEnd := os.NewFile(uintptr(ep[1]), "init errors")
	defer errEnd.Close()
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return nil, stepError(op, "getrlimit", err)
	}
	t, err := c.spec.lower(c.plan, inherited{stdio: stdio, socket: sp[1], errors: ep[1], maxFiles: files.Max})
	if err != nil {
		return nil, err
	}
	c.opts.weak.in(t)
	var pidfd int32
	pid, errno := forkTable(t.calls, t.mem, c.cloneFlags()|unix.CLONE_PIDFD, &pidfd, uintptr(ep[1]))
	runtime.KeepAlive(t)
	if errno != 0 {
		return nil, stepError(op, "clone", errno)
	}
	c.pid, c.pidfd = int(pid), int(pidfd)
	return t, nil
}

func (c *container) cloneFlags() uintptr {
	if c.spec.chrooted() {
		return 0
	}
	f := uintptr(unix.CLONE_NEWNS)
	if !c.spec.shares("pid") {
		f |= unix.CLONE_NEWPID
	}
	if c.spec.ownUsers() {
		f |= unix.CLONE_NEWUSER
	}
	if c.spec.Net == "nat" { // at once: the host process has to reach it
		f |= unix.CLONE_NEWNET
	}
	return f
}

// unshareFlag is that of a namespace that the init makes for itself.
func unshareFlag(ns string) int {
	switch ns {
	case "uts":
		return unix.CLONE_NEWUTS
	case "ipc":
		return unix.CLONE_NEWIPC
	case "cgroup":
		return unix.CLONE_NEWCGROUP
	}
	return unix.CLONE_NEWNET
}

// feed writes the id maps, makes the root's mount and sends it with the binds.
func (c *container) feed(root owner, binds bindTrees) error {
	users := -1
	if c.spec.ownUsers() {
		op := c.plan.find(VerbMapIDs)
		maps, err := c.idMaps(root)
		if err != nil {
			return stepError(op, "read", err)
		}
		if err := writeMaps(c.pid, maps); err != nil {
			return stepError(op, "write", err)
		}
		if err := unix.Sendmsg(c.sock, []byte{'u'}, nil, nil, unix.MSG_NOSIGNAL); err != nil {
			return stepError(op, "sendmsg", err)
		}
	}
	if c.spec.treeMapped() {
		fd, err := openUserNS(c.pid)
		if err != nil {
			return stepError(c.plan.find(VerbMapIDs), "open", err)
		}
		defer unix.Close(fd)
		users = fd
	}
	if err := c.rememberSpace(); err != nil {
		return err
	}
	if err := c.planGroups(); err != nil {
		return err
	}
	if err := c.guard(); err != nil {
		return err
	}
	if err := c.enterGroups(); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	tree, err := c.rootTree(users, root)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	rights := unix.UnixRights(append([]int{tree}, binds...)...)
	return stepError(c.plan.find(VerbReceive), "sendmsg", unix.Sendmsg(c.sock, []byte{'m'}, rights, nil, unix.MSG_NOSIGNAL))
}

// guard starts the keeper. Until now nothing could be left behind: the init dies with this process while it waits for
// it. Meanwhile it makes its namespaces.
func (c *container) guard() error {
	if !c.plan.find(VerbKeeper).Host {
		return nil // as a test wants it
	}
	var keep Keep
	if c.opts.Keep != nil {
		keep = *c.opts.Keep
	}
	keep.Space, keep.Chroot = c.space, c.spec.ChrootOf()
	if c.spec.KeepWork {
		keep.Remove = append(slices.Clone(keep.Remove), c.spec.Work+"/w/work")
		if !c.spec.KeepCopy {
			keep.Remove = append(keep.Remove, c.spec.Work+"/u")
		}
	}
	if len(c.groups) > 0 {
		keep.Cgroups = append(slices.Clone(keep.Cgroups), c.groupDirs()...)
	}
	var err error
	if c.keeper, err = StartGuard(keep); err != nil {
		return err
	}
	return c.keeper.watch(c.pidfd)
}

// blame ends the init after an error on this side, and prefers its own last words, if it had any, as the cause.
func (c *container) blame(t *table, err error) error {
	c.abandon()
	if e := c.childError(t); e != nil {
		return e
	}
	return err
}

// childError reads the init's last words: none if it has executed the command.
func (c *container) childError(t *table) error {
	var b [8]byte
	n, err := readFull(c.errs, b[:])
	var lost []Op
	for err == nil && n == len(b) && binary.NativeEndian.Uint32(b[:])&toldBit != 0 {
		if step := int(binary.NativeEndian.Uint32(b[:]) &^ toldBit); step < len(t.op) {
			lost = append(lost, c.plan[t.op[step]])
		}
		n, err = readFull(c.errs, b[:])
	}
	c.sayLost(lost)
	switch {
	case err != nil:
		return stepError(c.plan.find(VerbStart), "read", err)
	case n == 0:
		return nil
	case n < len(b):
		return stepError(c.plan.find(VerbStart), "read", fmt.Errorf("%d bytes of a report", n))
	}
	step, errno := int(binary.NativeEndian.Uint32(b[:])), syscall.Errno(binary.NativeEndian.Uint32(b[4:]))
	if step >= len(t.calls) {
		return stepError(c.plan.find(VerbStart), "", errno)
	}
	op := c.plan[t.op[step]]
	if op.Verb != VerbExec {
		return &StepError{Op: op, Call: t.name[step], Err: errno}
	}
	ce := &CommandError{Name: c.spec.Argv[0], Code: 126, Err: errno}
	switch {
	case t.calls[step].kind == kindExec:
		ce.Interpreter = errno == unix.ENOENT || errno == unix.ENOTDIR
	case errno == unix.ENOENT:
		ce.Code = 127
	}
	return ce
}

// readFull reads until b is full or the end of the file.
func readFull(fd int, b []byte) (int, error) {
	n := 0
	for n < len(b) {
		k, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	return n, nil
}

func procPath(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }
