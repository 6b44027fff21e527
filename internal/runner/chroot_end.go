package runner

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Without a PID namespace no end of one process is that of all. The reaper is a subreaper: what runs in the container
// is below it, whoever forked it and whatever it changed its session or user to, for as long as the reaper lives. So
// they are killed first and the reaper last, by the host process or, when that was killed, by the keeper. There is no
// parent-death signal: it would take the reaper first. A process that kills the reaper (it has the same user) gets away
// from this; those of its kind whose root directory is the container's are still found.

// kin is what /proc/PID/stat says of a process.
type kin struct {
	parent int
	ended  bool
	start  uint64
}

func kinOf(pid int) (kin, bool) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return kin{}, false
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 20 {
		return kin{}, false
	}
	parent, err := strconv.Atoi(f[1])
	start, e := strconv.ParseUint(f[19], 10, 64)
	return kin{parent, f[0] == "Z" || f[0] == "X", start}, err == nil && e == nil
}

// descendants are the living processes below one.
func descendants(of int) map[int]kin {
	all := map[int]kin{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			if k, ok := kinOf(pid); ok {
				all[pid] = k
			}
		}
	}
	found := map[int]kin{}
	for pid, k := range all {
		if k.ended || pid == of {
			continue
		}
		up := k.parent
		for n := 0; up > 1 && up != of && n < len(all); n++ {
			up = all[up].parent
		}
		if up == of {
			found[pid] = k
		}
	}
	return found
}

// EndBelow kills all descendants of a process until there are none, for ten seconds at most, and not the process itself.
func EndBelow(pid int) {
	for until := time.Now().Add(endPatience); time.Now().Before(until); {
		found := descendants(pid)
		if len(found) == 0 {
			return
		}
		for p, k := range found {
			fd, err := unix.PidfdOpen(p, 0)
			if err != nil {
				continue
			}
			// What the number stood for is what it stands for, or the signal finds nobody.
			if now, ok := kinOf(p); ok && now.start == k.start {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
		}
		time.Sleep(time.Millisecond / 4)
	}
}

// endRooted kills what has its root directory at or below dir: processes that lost their reaper. Those of other users
// cannot be told without CAP_SYS_PTRACE.
func endRooted(dir string) {
	if dir == "" || dir == "/" {
		return
	}
	in := func(pid int) bool {
		root, err := os.Readlink(procPath(pid, "root"))
		root = strings.TrimSuffix(root, " (deleted)")
		return err == nil && (root == dir || strings.HasPrefix(root, dir+"/"))
	}
	for until := time.Now().Add(endPatience); killAll(in) && time.Now().Before(until); {
		time.Sleep(time.Millisecond / 4)
	}
}

// EndChroot ends a container isolated by chroot from outside: all below its reaper, the reaper, and what has its root.
func EndChroot(pid, pidfd int, root string) {
	EndBelow(pid)
	if unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0) == nil {
		awaitEnd(pidfd)
	}
	endRooted(root)
}

// rootOf is the directory that a chrooted container has as its root, without links in its path.
func (s *Spec) rootOf() string {
	dir := s.Dir
	if dir == "" {
		dir = s.Work + "/u"
	}
	if real, err := filepath.EvalSymlinks(filepath.Dir(dir)); err == nil {
		return filepath.Join(real, filepath.Base(dir))
	}
	return dir
}

// ChrootOf is that directory for a container isolated by chroot, "" for others.
func (s *Spec) ChrootOf() string {
	if !s.chrooted() {
		return ""
	}
	return s.rootOf()
}

// awaitCommand waits until the reaper says that the command has ended, or has ended itself.
func (c *container) awaitCommand() {
	for {
		fds := []unix.PollFd{{Fd: int32(c.sock), Events: unix.POLLIN | unix.POLLRDHUP}, {Fd: int32(c.pidfd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			return
		}
	}
}

// pidOf is the number of the process that a pidfd stands for.
func pidOf(pidfd int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return 0, unix.ESRCH
}
