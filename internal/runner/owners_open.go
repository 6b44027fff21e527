package runner

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// write gives the answer to a stat to the process that asked.
func (k *clerk) write(r *request, b []byte) (bool, unix.Errno) {
	local := []unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(len(b))
	n, err := unix.ProcessVMWritev(r.pid, local, []unix.RemoteIovec{{Base: uintptr(r.to), Len: len(b)}}, 0)
	if err != nil || n != len(b) {
		return false, unix.EFAULT
	}
	return true, 0
}

// open opens what a call is about, without touching it.
func (k *clerk) open(r *request) (int, bool) {
	name := ""
	if r.path != 0 {
		var ok bool
		if name, ok = readString(r.pid, r.path); !ok {
			return -1, false
		}
	}
	flags := unix.O_PATH | unix.O_CLOEXEC
	if name == "" {
		if r.dir < 0 {
			return -1, false
		}
		fd, err := unix.Open(fdPath(r.pid, strconv.Itoa(int(r.dir))), flags, 0)
		return fd, err == nil
	}
	if n, ok := strings.CutPrefix(name, "/proc/self/fd/"); ok && r.follow {
		fd, err := unix.Open(fdPath(r.pid, n), flags, 0)
		return fd, err == nil
	}
	if !path.IsAbs(name) {
		base := procPath(r.pid, "cwd")
		if r.dir != unix.AT_FDCWD {
			base = fdPath(r.pid, strconv.Itoa(int(r.dir)))
		}
		dir, err := os.Readlink(base)
		if err != nil || !path.IsAbs(dir) {
			return -1, false
		}
		name = dir + "/" + name
	}
	if !r.follow {
		flags |= unix.O_NOFOLLOW
	}
	how := unix.OpenHow{Flags: uint64(flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range 100 {
		fd, err := unix.Openat2(k.root, name, &how)
		if err != unix.EAGAIN && err != unix.EINTR {
			return fd, err == nil
		}
	}
	return -1, false
}

func fdPath(pid int, n string) string { return fmt.Sprintf("/proc/%d/fd/%s", pid, n) }

// readString reads a path of another process.
func readString(pid int, addr uint64) (string, bool) {
	var s []byte
	for len(s) <= unix.PathMax {
		b := make([]byte, 4096-int(addr%4096)) // to the end of the page, for the next may not be there
		local := []unix.Iovec{{Base: &b[0]}}
		local[0].SetLen(len(b))
		n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(b)}}, 0)
		if err != nil || n == 0 {
			return "", false
		}
		if i := bytes.IndexByte(b[:n], 0); i >= 0 {
			return string(append(s, b[:i]...)), true
		}
		s = append(s, b[:n]...)
		addr += uint64(n)
	}
	return "", false
}
