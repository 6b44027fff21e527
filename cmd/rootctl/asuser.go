package main

import (
	"fmt"
	"os/user"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// as calls f with the file access of a user, so that no link in a folder of theirs leads where only root may write; nil
// is whoever calls. The thread is not used again.
func as(u *user.User, f func() error) error {
	if u == nil {
		return f()
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); e != 0 {
			done <- fmt.Errorf("become %s: %w", u.Username, e)
			return
		}
		unix.SetfsgidRetGid(gid)
		unix.SetfsuidRetUid(uid)
		if now, _ := unix.SetfsuidRetUid(-1); now != uid {
			done <- fmt.Errorf("become %s: their id is not known here", u.Username)
			return
		}
		done <- f()
	}()
	return <-done
}
