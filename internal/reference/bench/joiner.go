package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// joinerSource is the floor for a program in Go that joins a container: it does what nsenter does and nothing else. The
// kernel lets only a process of one thread join a user namespace, so it has to fork once more than nsenter, in C.
const joinerSource = `package main

import (
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

const (
	sysSetns, sysPidfdOpen = SETNS, 434
	all, cloneParent       = 0x7e020000, 0x8000
)

func main() {
	pid, _ := strconv.Atoi(os.Args[1])
	fd, _, e := syscall.RawSyscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if e != 0 {
		panic(e)
	}
	path, _ := syscall.BytePtrFromString("/bin/true")
	argv, envv := []*byte{path, nil}, []*byte{nil}
	join(fd, path, &argv[0], &envv[0])
	var ws syscall.WaitStatus
	code := 0
	for range 2 {
		if _, err := syscall.Wait4(-1, &ws, 0, nil); err != nil || ws != 0 {
			code = 1
		}
	}
	os.Exit(code)
}

//go:noinline
//go:norace
func join(fd uintptr, path *byte, argv, envv **byte) {
	syscall.ForkLock.Lock()
	beforeFork()
	pid, _, e := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
	if e != 0 || pid != 0 {
		afterFork()
		syscall.ForkLock.Unlock()
		return
	}
	afterForkInChild()
	if _, _, e = syscall.RawSyscall(sysSetns, fd, all, 0); e == 0 {
		pid, _, e = syscall.RawSyscall6(syscall.SYS_CLONE, cloneParent|uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if e == 0 && pid == 0 {
			_, _, e = syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(argv)), uintptr(unsafe.Pointer(envv)))
		}
	}
	for {
		syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(e), 0, 0)
	}
}
`

// joiner builds it.
func joiner(ctx context.Context, work string) (string, error) {
	dir := filepath.Join(work, "joiner")
	source := strings.Replace(joinerSource, "SETNS", fmt.Sprint(unix.SYS_SETNS), 1)
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644),
		os.WriteFile(filepath.Join(dir, "empty.s"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module joiner\n\ngo 1.26\n"), 0o644))
	if err != nil {
		return "", err
	}
	file := filepath.Join(work, "joiner.bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", file, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program that joins: %w\n%s", err, out)
	}
	return file, nil
}
