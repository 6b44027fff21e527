package runner

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// SealSelf replaces this process by the same program behind a read-only mount of its own, unless it is run from a
// read-only one already. Without a user namespace of its own root inside owns the program's file. Told to execute
// /proc/self/exe, or a script with that interpreter, the init becomes this program, and whoever opens its /proc/PID/exe
// gets this mount, through which nothing can be written. A nested container has the same from Enter.
func SealSelf(argv, env []string) error {
	self, err := unix.Open("/proc/self/exe", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return sealError("open /proc/self/exe", err)
	}
	defer unix.Close(self)
	var st unix.Statfs_t
	if err := unix.Fstatfs(self, &st); err != nil {
		return sealError("fstatfs", err)
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	// By descriptor: the file that runs, whatever has its name by now.
	fd, err := unix.OpenTree(self, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return sealError("open_tree", err)
	}
	defer unix.Close(fd)
	a := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &a); err != nil {
		return sealError("mount_setattr", err)
	}
	return sealError("execve", unix.Exec(fmt.Sprintf("/proc/self/fd/%d", fd), argv, env))
}

func sealError(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("make the program read-only for the container: %w", os.NewSyscallError(step, err))
}
