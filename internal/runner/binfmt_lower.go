package runner

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// planFormat registers the Spec's format for the container's user namespace. Without one of its own there is only the
// host's, which is not ours to change.
func (s *Spec) planFormat(p Plan) Plan {
	if s.Format == nil || !s.ownUsers() {
		return p
	}
	o := Op{Verb: VerbFormat, Type: "binfmt_misc", Source: s.Format.Interpreter, Data: s.Format.line()}
	if s.Format.filesystem != "" {
		o.Type = s.Format.filesystem
	}
	if s.Format.Optional {
		o.Options = []string{"or the host's"}
	}
	return append(p, o)
}

func (s *Spec) checkFormat() error {
	switch {
	case s.Format == nil:
		return nil
	case !s.ownUsers() && !s.Format.Optional:
		return &SpecError{Problem: "the host's user namespace has no registration of " + s.Format.Name,
			Fix: "use --userns=own with a cache on ext4, xfs, btrfs or tmpfs; or " + registerOnHost}
	}
	return s.Format.validate()
}

const registerOnHost = "register it on the host: apt-get install qemu-user-static binfmt-support (qemu-user-binfmt, from Debian 13 on)"

// format mounts a binfmt_misc that belongs to the user namespace of the container (Linux 6.7), registers the format there
// and sends the mount to the host process. A registration ends with the last reference to its file system; the mount is
// attached nowhere, so nothing inside can reach it.
//
// If the kernel refuses the mount and the format is optional, the message comes without a descriptor. Once there is a
// mount, the kernel no longer looks at the host's registrations, so that what fails later is an error.
func (l *lowering) format(o *Op) {
	optional := len(o.Options) > 0
	refusable := []int{l.here()}
	l.add("fsopen "+o.Type, unix.SYS_FSOPEN, o.Type, unix.FSOPEN_CLOEXEC).to(slotFS)
	refusable = append(refusable, l.here())
	l.add("fsconfig create", unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
	l.add("fsmount", unix.SYS_FSMOUNT, slotFS, unix.FSMOUNT_CLOEXEC, attrsData).to(slotMount)
	l.close(slotFS)
	l.add("openat register", unix.SYS_OPENAT, slotMount, "register", unix.O_WRONLY|unix.O_CLOEXEC).to(slotAt)
	l.add("write", unix.SYS_WRITE, slotAt, string(o.Data), len(o.Data)).expect(len(o.Data))
	l.close(slotAt)
	m := l.message(1)
	l.store(slotMount, m.fd(0))
	l.add("sendmsg", unix.SYS_SENDMSG, l.fds.socket, m.addr, unix.MSG_NOSIGNAL).expect(1).to(slotNext)
	l.close(slotMount)
	if !optional {
		return
	}
	over := l.branch(slotNext, 1, 0)
	for _, i := range refusable {
		l.calls[i].ignore().skip(l.here() - i - 1)
	}
	l.add("sendto", unix.SYS_SENDTO, l.fds.socket, "n", 1, unix.MSG_NOSIGNAL, 0, 0)
	l.calls[over].jump = uint16(l.here())
}

// takeFormat receives the mount that keeps the registration; it is closed when the container has ended.
func (c *container) takeFormat() error {
	op := c.plan.find(VerbFormat)
	if op.Source == "" {
		return nil
	}
	fd, err := receiveFD(c.sock)
	if errors.Is(err, errNoDescriptor) {
		return nil
	}
	if err != nil {
		return stepError(op, "recvmsg", err)
	}
	c.format = fd
	return nil
}

// formatHint is the next step when a registration failed.
func (e *StepError) formatHint(no syscall.Errno) string {
	switch {
	case e.Call == "write" && no == unix.EPIPE:
		return "the kernel took only a part of the registration"
	case e.Call == "write":
		return "everybody must be able to read and run " + e.Op.Source + ", and to get there"
	case no == unix.ENODEV:
		return "this kernel has no binfmt_misc, without which no emulator can be used; try: modprobe binfmt_misc"
	}
	return "Linux 6.7 or newer registers an emulator for the container alone; here " + registerOnHost
}
