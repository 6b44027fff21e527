package runner

import "golang.org/x/sys/unix"

// The kernel gives a user namespace a proc or sysfs of its own only where it sees a whole one already. In containers of
// Docker and its kin parts of both are covered, so the outer one stands in, covers and all. The container has a PID
// namespace all the same: its end is that of all its processes, and none of the outer ones can be signalled. /proc
// counts by the outer numbers, /proc/self too, so that what looks for itself by $$ finds another process. It is
// read-only: root inside may be root outside, without rights there, and then owns what outer processes have in it, as
// oom_score_adj.

// ownOrOuter makes the file system, or takes the outer one where that is refused, which the host process is told.
func (l *lowering) ownOrOuter(o *Op, m slot) {
	l.filesystem(o.Type, o.Attrs, o.Options, m)
	// Between fsmount and the closing of the configuration, which is the last call.
	last := len(l.calls) - 1
	closing := l.calls[last]
	l.calls, l.name, l.op = l.calls[:last], l.name[:last], l.op[:last]
	mount := last - 1
	l.calls[mount].tolerate(unix.EPERM)
	l.calls[mount].told = true
	flags := int(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE)
	l.add("open_tree", unix.SYS_OPEN_TREE, at, o.Target, flags).to(m)
	a := hold(l.table, &unix.MountAttr{Attr_set: o.Attrs | unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE})
	l.add("mount_setattr", unix.SYS_MOUNT_SETATTR, m, l.empty, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, a, unix.MOUNT_ATTR_SIZE_VER0)
	l.calls[mount].then = uint16(l.here() - mount - 1)
	l.push("close", closing)
}

// sayLost says in one line what a container has of the outer one that it should have of its own.
func (c *container) sayLost(ops []Op) {
	var proc, sys bool
	for _, o := range ops {
		proc, sys = proc || o.Type == "proc", sys || o.Type == "sysfs"
		if o.Verb == VerbHostname {
			c.note("the name of the host inside is the outer one: a filter on system calls keeps it from being set")
		}
	}
	switch {
	case proc && sys:
		c.note("parts of /proc are hidden here, so /proc and /sys inside are the outer ones: they show the processes and devices outside, by their numbers there, and /proc/$$ is another process")
	case proc:
		c.note("parts of /proc are hidden here, so /proc inside is the outer one: it shows the processes outside, by their numbers there, and /proc/$$ is another process")
	case sys:
		c.note("parts of /sys are hidden here, so /sys inside is the outer one, with its network devices")
	}
}
