package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A container that shares the host's processes has no PID namespace whose end would be that of all. Its processes are
// known by a namespace that they cannot leave: the user namespace, of theirs or above theirs, else that of the mounts.

// endPatience bounds how long processes are looked for that fork as they are killed.
const endPatience = 10 * time.Second

// rememberSpace is called while the init waits. The open file keeps the namespace's number from being another's.
func (c *container) rememberSpace() error {
	if !c.spec.shares("pid") {
		return nil
	}
	op, name := c.plan.find(VerbClone), "ns/mnt"
	if c.spec.ownUsers() {
		name = "ns/user"
	}
	f, err := os.Open(procPath(c.pid, name))
	if err != nil {
		return stepError(op, "open", err)
	}
	c.space = f
	if id := idOf(f); id == (nsID{}) || id == nsOf(os.Getpid(), name) {
		return stepError(op, "stat", fmt.Errorf("the container has no %s of its own", name)) // never ours
	}
	return nil
}

// endSpace kills what is left and lets the namespace go.
func (c *container) endSpace() {
	if c.space != nil {
		endOthers(c.space)
		c.space.Close()
		c.space = nil
	}
}

// endOthers kills the processes of a user or mount namespace until there are none.
func endOthers(space *os.File) {
	kind, err := unix.IoctlRetInt(int(space.Fd()), unix.NS_GET_NSTYPE)
	want := idOf(space)
	if err != nil || want == (nsID{}) {
		return
	}
	in := func(pid int) bool { return nsOf(pid, "ns/mnt") == want }
	if kind == unix.CLONE_NEWUSER {
		in = func(pid int) bool { return below(pid, want) }
	}
	if in(os.Getpid()) {
		return
	}
	for until := time.Now().Add(endPatience); killAll(in) && time.Now().Before(until); {
		time.Sleep(time.Millisecond / 4)
	}
}

// killAll is one round; it reports whether there was anything. What forks meanwhile is found by the next.
func killAll(in func(pid int) bool) (found bool) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, err := strconv.Atoi(filepath.Base(d))
		if err != nil || !in(pid) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// One that has ended and is not reaped yet is in its namespaces still.
		ended, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		if err == nil && ended == 0 && in(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
			found = true
		}
		unix.Close(fd)
	}
	return found
}

// below says whether a process is in a user namespace or one that was made in it.
func below(pid int, want nsID) bool {
	fd, err := openUserNS(pid)
	for err == nil {
		f := os.NewFile(uintptr(fd), "user namespace")
		if idOf(f) == want {
			f.Close()
			return true
		}
		fd, err = unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT) // EPERM above our own
		f.Close()
	}
	return false
}

// nsID tells namespaces apart while one of their processes lives, or a file of theirs is open.
type nsID struct{ dev, ino uint64 }

func idOf(f *os.File) nsID {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return nsID{}
	}
	return nsID{uint64(st.Dev), st.Ino}
}

func nsOf(pid int, name string) nsID {
	var st unix.Stat_t
	if unix.Stat(procPath(pid, name), &st) != nil {
		return nsID{}
	}
	return nsID{uint64(st.Dev), st.Ino}
}
