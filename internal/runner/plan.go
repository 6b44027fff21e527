package runner

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Attributes of mounts: with programs, with neither programs nor devices, with devices alone.
const (
	attrsPlain = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	attrsData  = attrsPlain | unix.MOUNT_ATTR_NOEXEC
	attrsDev   = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
)

// Plan lists what a run of the Spec does. It reads nothing but whether the sources of binds are directories.
func (s Spec) Plan() (Plan, error) {
	s = s.withDefaults()
	if err := s.validate(); err != nil {
		return nil, err
	}
	return s.plan()
}

// plan is Plan for a valid Spec with defaults.
func (s *Spec) plan() (Plan, error) {
	if s.chrooted() {
		return s.planChroot(), nil
	}
	p := make(Plan, 0, 80)
	p = s.planHost(p)
	p = append(p, Op{Verb: VerbStart})
	if s.ownUsers() {
		p = append(p, Op{Verb: VerbReady})
	}
	var own []string
	limited := s.Limits != (Limits{})
	for _, ns := range [...]string{"uts", "ipc", "cgroup"} {
		if !s.shares(ns) && (ns != "cgroup" || !limited) {
			own = append(own, ns)
		}
	}
	if s.ownNet() && s.Net != "nat" {
		own = append(own, "net")
	}
	p = s.planFormat(append(p, Op{Verb: VerbBecome}))
	p = append(p,
		Op{Verb: VerbUnshare, Options: own},
		Op{Verb: VerbSlave},
	)
	if s.ownNet() {
		p = append(p, Op{Verb: VerbLoopback})
	}
	if !s.shares("uts") {
		p = append(p, Op{Verb: VerbHostname, Source: s.Hostname})
	}
	p = append(p, Op{Verb: VerbReceive}) // what comes before takes the time that the host process needs for the root

	if limited { // its own groups, which it is in by now, are the root of what it sees
		p = append(p, Op{Verb: VerbUnshare, Options: []string{"cgroup"}})
	}
	p = append(p, Op{Verb: VerbRoot})
	if s.Bare {
		p = s.planBare(p)
	} else {
		p = s.planDev(s.planProc(p))
	}
	for _, m := range s.memories() {
		p = s.planMemory(p, m)
	}
	p = s.planFiles(p)
	for i, b := range s.Binds {
		st, err := os.Stat(b.Src)
		if err != nil {
			return nil, &SpecError{Problem: fmt.Sprintf("bind: %v", err), Fix: "give a file or directory that exists"}
		}
		t := "file"
		if st.IsDir() {
			t = "dir"
		}
		p = append(p, Op{Verb: VerbBind, Type: t, Source: b.Src, Target: b.Dst, Index: i})
	}
	return s.planEnd(p), nil
}

func (s *Spec) planHost(p Plan) Plan {
	ns := []string{"mnt"}
	if !s.shares("pid") {
		ns = append(ns, "pid")
	}
	if s.ownUsers() {
		ns = append([]string{"user"}, ns...)
	}
	if s.Net == "nat" {
		ns = append(ns, "net")
	}
	p = append(p, Op{Host: true, Verb: VerbClone, Options: ns})
	idmap := uint64(0)
	if s.treeMapped() {
		idmap = unix.MOUNT_ATTR_IDMAP
	}
	if s.ownUsers() {
		p = append(p, Op{Host: true, Verb: VerbMapIDs, Options: []string{fmt.Sprintf("0 %d %d", s.IDs.Base, s.IDs.Size)}})
	}
	p = append(p, Op{Host: true, Verb: VerbKeeper})
	if s.Limits != (Limits{}) {
		p = append(p, Op{Host: true, Verb: VerbLimit, Options: s.Limits.words()})
	}
	if s.Net == "nat" {
		p = append(p, Op{Host: true, Verb: VerbConnect})
	}
	if s.Dir != "" {
		p = append(p, Op{Host: true, Verb: VerbTree, Source: s.Dir, Attrs: unix.MOUNT_ATTR_NODEV | idmap})
	} else {
		work := s.Work
		if work == "" {
			work = "tmpfs"
		}
		options := []string{"volatile", "redirect_dir=off", "metacopy=off"}
		if s.Nested {
			options = []string{"volatile", "userxattr"} // trusted.* may not be written; the rest follows from that
		}
		p = append(p, Op{Host: true, Verb: VerbOverlay, Source: strings.Join(s.Lower, ":"), Target: work,
			Attrs: unix.MOUNT_ATTR_NODEV | idmap, Options: options})
	}
	for i, b := range s.Binds {
		a := uint64(attrsPlain)
		if b.ReadOnly {
			a |= unix.MOUNT_ATTR_RDONLY
		}
		if !b.Identity && !s.Nested {
			a |= unix.MOUNT_ATTR_IDMAP
		}
		p = append(p, Op{Host: true, Verb: VerbBindSrc, Source: b.Src, Target: b.Dst, Attrs: a, Index: i})
	}
	return p
}

// planProc mounts /proc and /sys and covers what would tell about the host or change it.
func (s *Spec) planProc(p Plan) Plan {
	copied := s.Dir == ""
	if s.shares("pid") {
		p = append(p, Op{Verb: VerbHostSys, Source: "/proc", Target: "/proc", Attrs: attrsData, Replace: copied})
	} else {
		p = append(p, Op{Verb: VerbMount, Type: "proc", Target: "/proc", Attrs: attrsData, Replace: copied})
	}
	if s.ownNet() {
		p = append(p, Op{Verb: VerbMount, Type: "sysfs", Target: "/sys", Attrs: attrsData | unix.MOUNT_ATTR_RDONLY, Replace: copied})
	} else {
		// A sysfs of its own needs a network namespace of its own.
		p = append(p, Op{Verb: VerbHostSys, Source: "/sys", Target: "/sys", Attrs: attrsData | unix.MOUNT_ATTR_RDONLY, Replace: copied})
	}
	for _, n := range [...]string{"bus", "fs", "irq", "sys", "sysrq-trigger"} {
		p = append(p, Op{Verb: VerbReadOnly, Target: "/proc/" + n, Attrs: attrsData | unix.MOUNT_ATTR_RDONLY})
	}
	return p
}

// planMasks comes after /dev: files are hidden under our /dev/null.
func planMasks(p Plan) Plan {
	for _, n := range [...]string{"interrupts", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug"} {
		p = append(p, Op{Verb: VerbMask, Type: "file", Target: "/proc/" + n})
	}
	for _, n := range [...]string{"/proc/acpi", "/proc/asound", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"} {
		p = append(p, Op{Verb: VerbMask, Type: "dir", Target: n, Attrs: attrsData | unix.MOUNT_ATTR_RDONLY})
	}
	return p
}

func (s *Spec) planDev(p Plan) Plan {
	// nodev: the nodes are mounts of their own, and one made here with CAP_MKNOD is of no use.
	p = append(p, Op{Verb: VerbMount, Type: "tmpfs", Target: "/dev", Attrs: attrsData, Options: []string{"mode=755", "size=64k"}, Replace: s.Dir == ""})
	for _, n := range [...]string{"null", "zero", "full", "random", "urandom", "tty"} {
		p = append(p, Op{Verb: VerbNode, Source: "/dev/" + n, Target: "/dev/" + n, Attrs: attrsDev | unix.MOUNT_ATTR_RDONLY})
	}
	for _, n := range s.DevNodes {
		p = append(p, Op{Verb: VerbNode, Source: "/dev/null", Target: "/dev/" + n, Attrs: attrsDev | unix.MOUNT_ATTR_RDONLY})
	}
	for _, l := range [...][2]string{
		{"/proc/self/fd", "fd"}, {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
		{"pts/ptmx", "ptmx"},
	} {
		p = append(p, Op{Verb: VerbLink, Source: l[0], Target: "/dev/" + l[1]})
	}
	pts := []string{"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}
	if s.singleID() {
		pts = pts[:3] // there is no group 5
	}
	p = append(p,
		Op{Verb: VerbMount, Type: "devpts", Target: "/dev/pts", Attrs: attrsDev, Options: pts},
		Op{Verb: VerbMount, Type: "tmpfs", Target: "/dev/shm", Attrs: attrsData, Options: []string{"mode=1777", "size=64m"}},
	)
	if !s.shares("ipc") { // one of its own needs an IPC namespace of its own
		p = append(p, Op{Verb: VerbMount, Type: "mqueue", Target: "/dev/mqueue", Attrs: attrsData})
	}
	if s.TTY {
		p = append(p, Op{Verb: VerbTerminal}, Op{Verb: VerbConsole, Target: "/dev/console"})
	}
	return planMasks(p)
}

// planFiles gives a copy its own names. A directory used in place keeps its files.
func (s *Spec) planFiles(p Plan) Plan {
	if s.Dir != "" {
		return p
	}
	file := func(f File) {
		p = append(p, Op{Verb: VerbFile, Target: f.Path, Mode: 0o644, Data: f.Data, Replace: true})
	}
	if !s.EtcBelow {
		for _, f := range s.EtcFiles() {
			file(f)
		}
	}
	for _, f := range s.Files {
		file(f)
	}
	return p
}

func (s *Spec) planEnd(p Plan) Plan {
	if s.ReadOnly {
		p = append(p, Op{Verb: VerbSealRoot, Attrs: unix.MOUNT_ATTR_RDONLY})
	}
	if s.chrooted() {
		p = append(p, Op{Verb: VerbChroot})
	} else {
		p = append(p, Op{Verb: VerbPivot})
	}
	if s.Init {
		p = append(p, Op{Verb: VerbInit})
	}
	p = append(p, Op{Verb: VerbSession, Mode: uint32(s.Umask)})
	if s.singleID() && s.RecordOwners {
		p = append(p, Op{Verb: VerbOwners})
	}
	p = append(p, Op{Verb: VerbGo}, Op{Verb: VerbCloseRest}, Op{Verb: VerbWorkdir, Target: s.Workdir})
	if s.Linux32 {
		p = append(p, Op{Verb: VerbLinux32})
	}
	if s.NoNewPrivs {
		p = append(p, Op{Verb: VerbNoPrivs})
	}
	if s.NoFsync {
		p = append(p, Op{Verb: VerbFilter, Type: "no-fsync"})
	}
	if s.singleID() && !s.RecordOwners {
		p = append(p, Op{Verb: VerbFilter, Type: "fake-ids"})
	}
	if s.Seccomp == "default" {
		if !s.ownUsers() && !s.Nested && (s.chrooted() || s.shares("pid")) {
			p = append(p, Op{Verb: VerbFilter, Type: "no-trace"})
		}
		p = append(p, Op{Verb: VerbFilter, Type: "default"})
	}
	caps, exec := Op{Verb: VerbCaps, Options: s.Caps}, Op{Verb: VerbExec, Options: s.Argv}
	switch {
	case s.User == nil:
		return append(p, caps, exec)
	case s.User.UID == 0: // groups alone: while there is the right to set them
		return append(p, Op{Verb: VerbUser, Options: s.User.words()}, caps, exec)
	}
	return append(p, caps, Op{Verb: VerbUser, Options: s.User.words()}, exec)
}
