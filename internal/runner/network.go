package runner

import (
	"bytes"
	"errors"

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

// watchNet keeps the counters of the network namespace readable beyond its end.
func (c *container) watchNet() {
	if c.opts.WatchNet && c.spec.Net == "none" {
		if fd, err := unix.Open(procPath(c.pid, "net/snmp"), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
			c.snmp = fd
		}
	}
}

// triedNet looks whether something was sent that no route led out for.
func (c *container) triedNet() bool {
	if c.snmp < 0 {
		return false
	}
	b := make([]byte, 8192)
	n, err := readFull(c.snmp, b)
	return err == nil && outNoRoutes(b[:n])
}

// outNoRoutes reads /proc/net/snmp: a line of names, then one of values.
func outNoRoutes(snmp []byte) bool {
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
				return string(f[i]) != "0"
			}
		}
	}
	return false
}
