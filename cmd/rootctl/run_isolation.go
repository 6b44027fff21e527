package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/runner"
)

// isolationFlags say what keeps a container from the host.
type isolationFlags struct {
	isolation string
}

func (i *isolationFlags) register(f *pflag.FlagSet) {
	f.StringVar(&i.isolation, "isolation", "namespaces", "`what` keeps the command apart: namespaces, or chroot alone, where namespaces are refused")
}

// apply turns a Spec into one isolated by chroot: with mounts of its own where they can be had, else without any.
func (i *isolationFlags) apply(a *app, fl *runFlags, s *runner.Spec) error {
	switch {
	case i.isolation == "namespaces":
		return nil
	case i.isolation != "chroot":
		return withHint(&flagError{fmt.Errorf("unknown isolation %q", i.isolation)}, "--isolation=namespaces or --isolation=chroot")
	case fl.net == "nat", s.Bare, len(s.Share) > 0:
		return withHint(&flagError{errors.New("--isolation=chroot has the host's namespaces: --net=nat, --bare and --share mean nothing there")}, "leave them out")
	case !runner.CanChroot():
		return withHint(errors.New("--isolation=chroot needs root with CAP_SYS_CHROOT and CAP_MKNOD"), "%s", runner.OuterHint())
	}
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("find the host's name: %w", err)
	}
	a.chroot = !runner.Capable("SYS_ADMIN")
	s.UserNS, s.Net, s.Hostname = "host", "host", name
	if !a.chroot && runner.CanMount() {
		// Processes of its own: root that sees those of other users becomes one of them, and /proc/PID/root is the host's /.
		s.Share = []string{"ipc", "uts"}
		a.warnAtStart("--isolation=chroot: not isolated: the command is root here, with the network, IPC and name of the host; processes, files and mounts are its own")
		return nil
	}
	if fl.inMemory() {
		return withHint(&flagError{errors.New("--upper=tmpfs needs a mount, and none is allowed here")}, "leave it out")
	}
	s.Isolation = "chroot"
	a.warnAtStart("--isolation=chroot: not isolated: the command is root here, with the processes, network, IPC and name of the host, and no /proc; files are its own, in a copy of the whole root")
	return nil
}

// sealFor keeps rootctl's own file from a container in which its owner is root. Without a /proc inside no name leads there.
func sealFor(s *runner.Spec) error {
	if s.Isolation == "chroot" {
		return nil
	}
	return seal(s.UserNS)
}
