package runner

import (
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// shares says whether a namespace ("pid", "ipc", "uts") stays the host's. The network has Spec.Net.
func (s *Spec) shares(ns string) bool { return len(s.Share) > 0 && slices.Contains(s.Share, ns) }

// checkLearning refuses what --share and --bare cannot mean.
func (s *Spec) checkLearning() error {
	for _, ns := range s.Share {
		switch ns {
		case "pid", "ipc", "uts":
		case "net":
			if s.Net != "host" {
				return &SpecError{Problem: "the network is shared and yet " + s.Net, Fix: "leave --net away, or --share net"}
			}
		default:
			return &SpecError{Problem: "unknown namespace " + strconv.Quote(ns), Fix: "pid, net, ipc or uts can be shared"}
		}
	}
	if s.Bare && !s.ownUsers() {
		return &SpecError{Problem: "a bare container may mount, and without a user namespace of its own it would mount on the host",
			Fix: "leave --userns=host away"}
	}
	return nil
}

// bareCaps lets the command mount, in its own user namespace.
func (s *Spec) bareCaps() {
	if s.Bare && !slices.Contains(s.Caps, "CAP_SYS_ADMIN") {
		s.Caps = append(slices.Clone(s.Caps), "CAP_SYS_ADMIN")
	}
}

// planBare mounts nothing that shows. The kernel lets a user namespace mount proc or sysfs only where a whole one is
// in its mount namespace already, so one of each lies under a clone of the root's own empty directory.
func (s *Spec) planBare(p Plan) Plan {
	p = append(p, Op{Verb: VerbHidden, Type: "proc", Target: "/proc", Attrs: attrsData, Replace: s.Dir == ""})
	if s.ownNet() {
		p = append(p, Op{Verb: VerbHidden, Type: "sysfs", Target: "/sys", Attrs: attrsData, Replace: s.Dir == ""})
	}
	if s.TTY {
		p = append(p, Op{Verb: VerbTerminal})
	}
	return p
}

// hidden mounts a file system at a directory of the root and the directory itself over it.
func (l *lowering) hidden(o *Op) {
	l.mountpoint(o)
	l.add("open_tree", unix.SYS_OPEN_TREE, slotAt, l.empty, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH).to(slotTmp)
	l.filesystem(o.Type, o.Attrs, nil, slotMount)
	l.attach(slotMount)
	l.close(slotMount)
	l.mountpoint(o)
	l.attach(slotTmp)
	l.close(slotTmp)
}

// bareTerminals makes a devpts that is mounted nowhere, for a container without /dev.
func (l *lowering) bareTerminals() {
	l.filesystem("devpts", attrsDev, []string{"newinstance", "ptmxmode=0666", "mode=0620"}, slotTmp)
	l.add("openat", unix.SYS_OPENAT, slotTmp, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW).to(slotPty)
}
