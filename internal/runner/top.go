package runner

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Resident is a process of a container.
type Resident struct {
	PID     int      `json:"pid"` // as the container counts
	HostPID int      `json:"host_pid"`
	UID     uint32   `json:"uid"` // the effective one inside; 65534 if there is none
	User    string   `json:"user"`
	Command []string `json:"command"` // the name in brackets where there is no command line
}

// overflowID stands for ids that a user namespace does not have.
const overflowID = 65534

// Residents lists the processes of the container that has this init: those of its pid namespace and of the ones below; of
// its mount namespace, where it shares the pid namespace with this process. What they are called they choose themselves.
func Residents(init Process) ([]Resident, error) {
	t := Target{Process: init}
	pidfd, err := t.open()
	if err != nil {
		return nil, err
	}
	defer unix.Close(pidfd)
	h, err := newHouse(init.PID)
	if err == nil {
		var list []Resident
		if list, err = h.all(); err == nil && len(list) > 0 {
			return list, nil
		}
	}
	if n, _ := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 50); n > 0 || err == nil {
		return nil, &GoneError{"it ended meanwhile"}
	}
	return nil, fmt.Errorf("look at process %d: %w", init.PID, err)
}

// A house is what the processes of a container have in common.
type house struct {
	space  string // of which they are: ns/pid or ns/mnt
	dev    uint64
	ino    uint64
	depth  int         // of the pid namespace, as /proc counts
	ids    [][3]uint32 // inside, outside, how many
	passwd []byte
}

func newHouse(pid int) (*house, error) {
	h := &house{space: "ns/pid", depth: 1}
	dir, err := openProc(strconv.Itoa(pid))
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var st, own unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &own); err != nil {
		return nil, err
	}
	if err := unix.Fstatat(dir, h.space, &st, 0); err != nil {
		return nil, err
	}
	if st.Ino == own.Ino && st.Dev == own.Dev {
		h.space = "ns/mnt"
		if err := unix.Fstatat(dir, h.space, &st, 0); err != nil {
			return nil, err
		}
	} else {
		status, err := readAt(dir, "status")
		if err != nil {
			return nil, err
		}
		h.depth = len(numbers(status, "NSpid:"))
	}
	h.dev, h.ino = st.Dev, st.Ino
	ids, err := readAt(dir, "uid_map")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(ids)) {
		var r [3]uint32
		if _, err := fmt.Sscan(line, &r[0], &r[1], &r[2]); err == nil {
			h.ids = append(h.ids, r)
		}
	}
	if root, err := unix.Openat(dir, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err == nil {
		h.passwd, _ = readInside(root, "etc/passwd") // without it users are numbers
		unix.Close(root)
	}
	return h, nil
}

func (h *house) all() ([]Resident, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var list []Resident
	for _, n := range names {
		if n[0] < '0' || n[0] > '9' {
			continue
		}
		if r, ok := h.resident(n); ok { // else it is another's, or has ended meanwhile
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b Resident) int { return a.PID - b.PID })
	return list, nil
}

// resident looks at a process through one descriptor: all that is read is of the same one.
func (h *house) resident(pid string) (r Resident, ok bool) {
	dir, err := openProc(pid)
	if err != nil {
		return r, false
	}
	defer unix.Close(dir)
	status, err := readAt(dir, "status")
	if err != nil {
		return r, false
	}
	pids, uids := numbers(status, "NSpid:"), numbers(status, "Uid:")
	if len(pids) < h.depth || len(uids) < 2 || !h.has(dir, len(pids)-h.depth) {
		return r, false
	}
	r.HostPID, _ = strconv.Atoi(pid)
	r.PID, r.UID = int(pids[h.depth-1]), h.inside(uint32(uids[1]))
	r.User = strconv.Itoa(int(r.UID))
	for f := range entries(h.passwd, 7) {
		if uid, ok := id(f[2]); ok && uid == r.UID {
			r.User = f[0]
			break
		}
	}
	line, err := readAt(dir, "cmdline")
	if err != nil {
		return r, false
	}
	if line = bytes.TrimRight(line, "\x00"); len(line) > 0 {
		r.Command = strings.Split(string(line), "\x00")
	} else {
		r.Command = []string{"[" + field(status, "Name:") + "]"}
	}
	return r, true
}

// has says whether the process at dir is of the house, or of a pid namespace so many levels below.
func (h *house) has(dir, below int) bool {
	if below == 0 || h.space != "ns/pid" {
		var st unix.Stat_t
		return unix.Fstatat(dir, h.space, &st, 0) == nil && st.Dev == h.dev && st.Ino == h.ino
	}
	fd, err := unix.Openat(dir, h.space, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for ; err == nil && below > 0; below-- {
		var up int
		up, err = unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		fd = up
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Dev == h.dev && st.Ino == h.ino
}

func (h *house) inside(uid uint32) uint32 {
	for _, r := range h.ids {
		if uid >= r[1] && uid-r[1] < r[2] {
			return r[0] + uid - r[1]
		}
	}
	return overflowID
}

// openProc opens the folder of a process, which stays that of this process.
func openProc(pid string) (int, error) {
	return unix.Open(path.Join("/proc", pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// maxCommandLine bounds what is read of one file of a process.
const maxCommandLine = 256 << 10

func readAt(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCommandLine))
}

// field is what stands behind a word at the beginning of a line of /proc/PID/status.
func field(status []byte, word string) string {
	_, rest, _ := strings.Cut("\n"+string(status), "\n"+word)
	rest, _, _ = strings.Cut(rest, "\n")
	return strings.TrimSpace(rest)
}

func numbers(status []byte, word string) (list []int) {
	for _, f := range strings.Fields(field(status, word)) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return nil
		}
		list = append(list, n)
	}
	return list
}
