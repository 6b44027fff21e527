package state

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// Mark notes which process is the container's init, so that no later one of the same number is taken for it.
func (c *Container) Mark(p runner.Process) {
	c.PID, c.StartTime, c.PidfdInode, c.BootID = p.PID, p.StartTime, p.PidfdInode, BootID()
	c.Cgroups = p.Cgroups
}

// BootID is different after each start of the machine.
func BootID() string {
	b, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // "" where there is none, always
	return string(bytes.TrimSpace(b))
}

// StartTime is when a process began, in clock ticks since boot.
func StartTime(pid int) (uint64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	// The name, field 2, may hold anything, but ends at the last parenthesis.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return 0, errors.New("too few fields in the status of a process")
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// pidFSMagic: from Linux 6.9 a pidfd has an inode number that no other process ever has.
const pidFSMagic = 0x50494446

func pidfdInode(fd int) uint64 {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if fd < 0 || unix.Fstatfs(fd, &fs) != nil || fs.Type != pidFSMagic || unix.Fstat(fd, &st) != nil {
		return 0
	}
	return st.Ino
}

// Init opens the container's init, or gives ESRCH if it has ended, whoever has its number now.
func (c *Container) Init() (pidfd int, err error) {
	if c.PID == 0 || c.BootID != BootID() {
		return -1, unix.ESRCH
	}
	fd, err := openProcess(c.PID, c.StartTime)
	if err == nil && c.PidfdInode != 0 {
		if now := pidfdInode(fd); now != 0 && now != c.PidfdInode {
			unix.Close(fd)
			return -1, unix.ESRCH
		}
	}
	return fd, err
}

// OpenMonitor opens the container's host process, or gives ESRCH.
func (c *Container) OpenMonitor() (pidfd int, err error) {
	if c.Monitor == 0 || c.BootID != "" && c.BootID != BootID() {
		return -1, unix.ESRCH
	}
	return openProcess(c.Monitor, c.MonitorStart)
}

// openProcess opens a process that began at a given time. The descriptor is opened first: it stays that process.
func openProcess(pid int, start uint64) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, err
	}
	if now, err := StartTime(pid); err != nil || now != start {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

// Sweep ends and removes what is left of containers that nobody looks after any more and that were not to be kept: the
// monitor and its keeper were killed, or the machine was. Kept ones are ended too, but stay.
func (d *Dir) Sweep() error {
	entries, err := os.ReadDir(d.Path)
	if err != nil || len(entries) < 2 { // but the lock
		return err
	}
	guard, err := d.lock()
	if err != nil {
		return err
	}
	defer guard.Close()
	var errs []error
	for _, e := range entries {
		if alive, err := d.alive(e.Name()); !isID(e.Name()) || alive || err != nil && !errors.Is(err, os.ErrNotExist) {
			continue
		}
		c, err := d.read(e.Name())
		if err == nil {
			c.end()
			errs = append(errs, runner.RemoveGroups(c.Cgroups))
		}
		if err != nil || !c.Keep {
			errs = append(errs, removeAll(filepath.Join(d.Path, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// end kills an init that has outlived its monitor and keeper, and with it all of its container.
func (c *Container) end() {
	fd, err := c.Init()
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if root := c.Spec.ChrootOf(); root != "" {
		runner.EndChroot(c.PID, fd, root)
		return
	}
	if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000)
	}
}
