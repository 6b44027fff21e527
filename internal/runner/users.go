package runner

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// owner is the pair of host ids that root of a container is.
type owner struct{ uid, gid uint32 }

// idMaps are the contents of uid_map and gid_map.
type idMaps struct{ uid, gid string }

// maps maps the range, with root taken out of it where it is someone else.
func (r owner) maps(ids IDRange) idMaps {
	one := func(root uint32) string {
		if root == ids.Base {
			return fmt.Sprintf("0 %d %d", ids.Base, ids.Size)
		}
		return fmt.Sprintf("0 %d 1\n1 %d %d", root, ids.Base+1, ids.Size-1)
	}
	return idMaps{one(r.uid), one(r.gid)}
}

// idMaps are the maps of a container.
func (c *container) idMaps(root owner) (idMaps, error) {
	if !c.spec.Nested {
		return root.maps(c.spec.IDs), nil
	}
	u, err := sameIDs("/proc/self/uid_map")
	if err != nil {
		return idMaps{}, err
	}
	g, err := sameIDs("/proc/self/gid_map")
	return idMaps{u, g}, err
}

// sameIDs maps each id of this namespace to itself: range by range, for the kernel takes none that spans two.
func sameIDs(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return "", fmt.Errorf("%s: line of %d fields", file, len(f))
		}
		lines = append(lines, f[0]+" "+f[0]+" "+f[2])
	}
	return strings.Join(lines, "\n"), nil
}

func writeMaps(pid int, m idMaps) error {
	if err := writeProc(procPath(pid, "uid_map"), m.uid); err != nil {
		return fmt.Errorf("uid_map: %w", err)
	}
	if err := writeProc(procPath(pid, "gid_map"), m.gid); err != nil {
		return fmt.Errorf("gid_map: %w", err)
	}
	return nil
}

// writeProc writes in one call, as the maps demand.
func writeProc(name, s string) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(s))
	return err
}

func openUserNS(pid int) (int, error) {
	return unix.Open(procPath(pid, "ns/user"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
}

// mappedUserNS makes a user namespace that exists only for its map: on a mount, id "inside" on disk is id "outside"
// for everyone who looks.
func mappedUserNS(inside, outside owner) (int, error) {
	t := newTable(8)
	t.add("prctl", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, int(unix.SIGKILL), 0, 0, 0)
	t.closeAllBut()
	t.add("ppoll", unix.SYS_PPOLL, 0, 0, 0, 0, 0)
	var pidfd int32
	pid, errno := forkTable(t.calls, t.mem, unix.CLONE_NEWUSER|unix.CLONE_PIDFD, &pidfd, ^uintptr(0))
	runtime.KeepAlive(t)
	if errno != 0 {
		return -1, errno
	}
	defer func() {
		_ = unix.PidfdSendSignal(int(pidfd), unix.SIGKILL, nil, 0) // fails only if it is gone
		reap(int(pid))
		unix.Close(int(pidfd))
	}()
	m := idMaps{fmt.Sprintf("%d %d 1", inside.uid, outside.uid), fmt.Sprintf("%d %d 1", inside.gid, outside.gid)}
	if err := writeMaps(int(pid), m); err != nil {
		return -1, err
	}
	return openUserNS(int(pid))
}
