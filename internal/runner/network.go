package runner

import (
	"bytes"
	"errors"
	"strconv"

	"golang.org/x/sys/unix"
)

// connect gives the init's network namespace to Options.Connect. The init waits for the root meanwhile.
func (c *container) connect() error {
	if c.spec.Net != "nat" {
		return nil
	}
	op := c.plan.find(VerbConnect)
	if c.opts.Connect == nil {
		return stepError(op, "", errors.New("nobody to connect it"))
	}
	fd, err := unix.Open(procPath(c.pid, "ns/net"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return stepError(op, "open", err)
	}
	defer unix.Close(fd)
	return c.opts.Connect(c.pid, fd)
}

// netCounters sends the counters of the new network namespace to the host process: when the command runs it may be over
// before anybody has opened them. Where /proc is not that of this machine the message comes without a descriptor.
func (l *lowering) netCounters() {
	open := l.here()
	l.add("openat", unix.SYS_OPENAT, at, "/proc/self/net/snmp", unix.O_RDONLY|unix.O_CLOEXEC).to(slotAt)
	m := l.message(1)
	l.store(slotAt, m.fd(0))
	l.add("sendmsg", unix.SYS_SENDMSG, l.fds.socket, m.addr, unix.MSG_NOSIGNAL).expect(1).to(slotNext)
	l.close(slotAt)
	over := l.branch(slotNext, 1, 0)
	l.calls[open].ignore().skip(l.here() - open - 1)
	l.add("sendto", unix.SYS_SENDTO, l.fds.socket, "n", 1, unix.MSG_NOSIGNAL, 0, 0)
	l.calls[over].jump = uint16(l.here())
}

// takeCounters receives what netCounters sends.
func (c *container) takeCounters() error {
	if !c.spec.ownNet() || c.spec.Net == "nat" {
		return nil
	}
	fd, err := receiveFD(c.sock)
	if errors.Is(err, errNoDescriptor) {
		return nil
	}
	if err != nil {
		return stepError(c.plan.find(VerbUnshare), "recvmsg", err)
	}
	c.snmp = fd
	return nil
}

// watchJoined opens the counters of the network of a container that is joined, and notes how they stand.
func (c *container) watchJoined(pid int) {
	if !c.opts.WatchNet || c.spec.Net != "none" {
		return
	}
	if fd, err := unix.Open(procPath(pid, "net/snmp"), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
		c.snmp = fd
		c.noRoutes = c.outNoRoutes()
	}
}

// triedNet looks whether something was sent that no route led out for.
func (c *container) triedNet() bool {
	return c.opts.WatchNet && c.outNoRoutes() > c.noRoutes
}

func (c *container) outNoRoutes() uint64 {
	if c.snmp < 0 {
		return 0
	}
	b := make([]byte, 8192)
	if _, err := unix.Seek(c.snmp, 0, unix.SEEK_SET); err != nil {
		return 0
	}
	n, err := readFull(c.snmp, b)
	if err != nil {
		return 0
	}
	return outNoRoutes(b[:n])
}

// outNoRoutes reads /proc/net/snmp: a line of names, then one of values.
func outNoRoutes(snmp []byte) uint64 {
	var names [][]byte
	for line := range bytes.Lines(snmp) {
		f := bytes.Fields(line)
		if len(f) == 0 || string(f[0]) != "Ip:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, name := range names {
			if string(name) == "OutNoRoutes" && i < len(f) {
				n, _ := strconv.ParseUint(string(f[i]), 10, 64)
				return n
			}
		}
	}
	return 0
}
