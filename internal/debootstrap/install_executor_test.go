package debootstrap

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// unshareExecutor runs commands in a container made with util-linux: what an
// Executor promises, but for the fsync filter. The command's exit ends all.
type unshareExecutor struct{}

const containerScript = `set -e
root=$1; devfsd=$2; shift 2
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc -o nosuid,nodev,noexec proc proc
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
mount -t tmpfs -o mode=755,nosuid tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
for n in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
	set -- $n "$@"; mknod -m 666 "dev/$1" c "$2" "$3"; shift 3
done
if [ "$devfsd" = 1 ]; then mknod -m 666 dev/.devfsd c 1 3; fi
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -s /proc/self/fd/${n%:*} dev/${n#*:}; done
umask 022
exec chroot . "$@"`

func (unshareExecutor) Exec(ctx context.Context, c Command) (int, error) {
	devfsd := "0"
	if c.Devfsd {
		devfsd = "1"
	}
	args := append([]string{
		"--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child",
		"/bin/sh", "-c", containerScript, "sh", c.Dir, devfsd, "/usr/bin/env", "-i",
	}, append(append([]string(nil), c.Env...), c.Argv...)...)
	cmd := exec.CommandContext(ctx, "unshare", args...)
	cmd.Stdout, cmd.Stderr = c.Output, c.Output
	err := cmd.Run()
	if e := ctx.Err(); e != nil {
		return 0, e
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// needsNamespaces skips where a container cannot be made.
func needsNamespaces(t *testing.T) {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("needs root: packages are unpacked and their scripts run in namespaces")
	}
	if _, err := exec.LookPath("unshare"); err != nil {
		t.Skip("needs unshare: the test's containers are made with it")
	}
}
