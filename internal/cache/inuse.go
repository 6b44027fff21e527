package cache

import (
	"encoding/binary"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// InUse says of listed roots whether they are used this moment. Where the kernel tells which files are locked at all, only
// those of them are tried; else it costs three system calls a root.
func (s *Store) InUse(list []Listed) []bool {
	out := make([]bool, len(list))
	if s.readOnly {
		return out
	}
	locks, err := unix.Open(s.path("locks"), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return out
	}
	defer unix.Close(locks)
	held, known := lockedIn(locks)
	for i, l := range list {
		if name := "root-" + string(l.Root); !known || held[name] {
			out[i] = s.looksUsed(locks, name)
		}
	}
	return out
}

// looksUsed is inUse for a list: a root that goes this moment may seem used.
func (s *Store) looksUsed(locks int, name string) bool {
	fd, err := unix.Openat(locks, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return s.flock(fd, unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}

// lockedIn finds the files of a folder whose inode numbers are among those of all locks of the machine, some perhaps of
// another file system's file of the same number. ok is false where that is not known for certain.
func lockedIn(folder int) (names map[string]bool, ok bool) {
	var fs unix.Statfs_t
	if unix.Fstatfs(folder, &fs) != nil {
		return nil, false
	}
	switch fs.Type {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.TMPFS_MAGIC:
	default: // of which a folder may give other numbers than locks have, as an overlay does
		return nil, false
	}
	held, ok := lockedInodes()
	if !ok || len(held) == 0 {
		return nil, ok
	}
	names = map[string]bool{}
	for b := make([]byte, 32<<10); ; {
		n, err := unix.Getdents(folder, b)
		if err != nil {
			return nil, false
		}
		if n == 0 {
			return names, true
		}
		// struct linux_dirent64: 8 bytes inode, 8 offset, 2 length, 1 type, name ending in 0
		for d := b[:n]; len(d) > 19; d = d[binary.NativeEndian.Uint16(d[16:]):] {
			if held[binary.NativeEndian.Uint64(d)] {
				name, _, _ := strings.Cut(string(d[19:binary.NativeEndian.Uint16(d[16:])]), "\x00")
				names[name] = true
			}
		}
	}
}

// initialPIDs is PROC_PID_INIT_INO: only in the kernel's first PID namespace does /proc/locks show all locks, also those
// whose first owner has ended, as a keeper's has.
const initialPIDs = "pid:[4026531836]"

func lockedInodes() (map[uint64]bool, bool) {
	if ns, err := os.Readlink("/proc/self/ns/pid"); err != nil || ns != initialPIDs {
		return nil, false
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return nil, false
	}
	held := map[uint64]bool{}
	for line := range strings.Lines(string(b)) { // 1: FLOCK  ADVISORY  WRITE 811 fd:01:5701 0 EOF
		for _, f := range strings.Fields(line) {
			if p := strings.Split(f, ":"); len(p) == 3 {
				n, err := strconv.ParseUint(p[2], 10, 64)
				if err != nil {
					return nil, false
				}
				held[n] = true
			}
		}
	}
	return held, true
}
