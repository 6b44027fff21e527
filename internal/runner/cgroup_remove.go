package runner

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// groupPatience is how long processes of a group that was told to end have for it.
const groupPatience = 5 * time.Second

// RemoveGroups ends what is left in control groups that rootctl made, and removes them. Those that are gone are no
// error.
func RemoveGroups(dirs []string) error {
	var errs []error
	for _, dir := range dirs {
		if !isGroup(dir) {
			continue
		}
		if err := removeGroup(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove control group %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

func removeGroup(dir string) error {
	for until, pause := time.Now().Add(groupPatience), time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		err := unix.Rmdir(dir)
		if err != unix.EBUSY || time.Now().After(until) {
			if gone(err) {
				return nil
			}
			return err
		}
		if err := endGroup(dir); err != nil && !gone(err) {
			return err
		}
		time.Sleep(pause)
	}
}

// endGroup kills what is in a group: as a whole where the kernel can (version 2, Linux 5.14), else one by one.
func endGroup(dir string) error {
	err := kernelGroups{}.write(path.Join(dir, "cgroup.kill"), "1")
	if err == nil || !gone(err) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) {
		return err
	}
	pids, err := words(path.Join(dir, "cgroup.procs"))
	for _, p := range pids {
		if pid, e := strconv.Atoi(p); e == nil && pid > 1 { // 0 is a process of another pid namespace
			_ = unix.Kill(pid, unix.SIGKILL) // it may have ended
		}
	}
	return err
}
