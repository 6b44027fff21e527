package runner

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// SpecError is a Spec that cannot be carried out as written.
type SpecError struct {
	Problem string
	Fix     string
}

func (e *SpecError) Error() string { return e.Problem }

// Hint is the next step for the user.
func (e *SpecError) Hint() string { return e.Fix }

// StepError is an operation of the plan that the kernel refused.
type StepError struct {
	Op     Op
	Call   string // the system call
	Err    error  // a syscall.Errno as a rule
	Detail string // the kernel's own words, where it gave any
}

func (e *StepError) Error() string {
	s := e.Op.Name()
	if e.otherKind() {
		if e.Op.Type == "file" {
			return s + ": a directory is there"
		}
		return s + ": a file is there"
	}
	if e.Call != "" {
		s += ": " + e.Call
	}
	s += ": " + e.Err.Error()
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	return s
}

func (e *StepError) Unwrap() error { return e.Err }

// otherKind holds where a file was to cover a directory or the other way round: the kernel says EINVAL alone.
func (e *StepError) otherKind() bool {
	return e.Op.Verb == VerbBind && e.Call == "move_mount" && errors.Is(e.Err, unix.EINVAL)
}

func (e *StepError) newNamespaces() bool { return e.Op.Verb == VerbClone || e.Op.Verb == VerbUnshare }

// Hint is the next step for the user, "" if none is known.
func (e *StepError) Hint() string {
	var no syscall.Errno
	if !errors.As(e.Err, &no) {
		return ""
	}
	switch {
	case e.Op.Verb == VerbFormat:
		return e.formatHint(no)
	case e.otherKind() && e.Op.Type == "file":
		return fmt.Sprintf("a file covers a file or nothing: --bind SRC:%s", path.Join(e.Op.Target, path.Base(e.Op.Source)))
	case e.otherKind():
		return "a directory covers a directory or nothing: give another place inside, --bind SRC:DST, or bind a file"
	case e.newNamespaces() && (no == unix.EPERM || no == unix.EACCES):
		return "creating namespaces is not allowed here; " + outerHint()
	case e.newNamespaces() && no == unix.ENOSPC:
		return "a limit on namespaces is reached; see /proc/sys/user/max_*_namespaces"
	case e.newNamespaces() && no == unix.EINVAL:
		return "this kernel lacks a kind of namespace; Linux 5.12 or newer with all of them is needed"
	case e.Op.Verb == VerbOverlay && no == unix.ENOSPC:
		return "the whole root is copied where overlay is refused (see the note above): make room, or use a cache on ext4, xfs, btrfs or tmpfs"
	case e.Op.Verb == VerbOverlay && no == unix.ENODEV:
		return "this kernel has no overlay file system; try: modprobe overlay"
	case e.Op.Verb == VerbOverlay && no == unix.EINVAL:
		return overlayHint
	case e.Op.Verb == VerbTree && e.Call == "mount_setattr":
		return "the file system of the directory cannot be idmapped; use --userns=host"
	case e.Op.Verb == VerbHidden && no == unix.EPERM:
		return "parts of /proc or /sys are hidden here, and the kernel then gives no fresh one: start the outer container with nothing hidden (docker run --security-opt systempaths=unconfined)"
	case no == unix.ELOOP || no == unix.ENOTDIR:
		return fmt.Sprintf("%s in the root, or a part of it, is a link or a file where a directory is needed", e.Op.Target)
	case e.Op.Verb == VerbWorkdir:
		return "give --workdir a directory that exists inside"
	case no == unix.ENAMETOOLONG:
		return "a name in a path has at most 255 bytes, a path 4095"
	case no == unix.EMFILE || no == unix.ENFILE:
		return "too many open files; raise ulimit -n"
	case no == unix.ENOSPC:
		return "no space left, or a limit on mounts is reached (/proc/sys/fs/mount-max)"
	case no == unix.ENOMEM || no == unix.EAGAIN:
		return "out of memory, or a limit on processes is reached (ulimit -u, pids.max)"
	case no == unix.ENOSYS:
		return tooOldHint
	case no == unix.EPERM || no == unix.EACCES:
		return "root rights are needed, and inside a container also CAP_SYS_ADMIN and no filter on mount calls"
	}
	return ""
}

// CommandError says why the command itself could not be started in a container that was otherwise ready.
type CommandError struct {
	Name string
	Code int // 126: found but not executable; 127: not found
	Err  syscall.Errno
	// Interpreter: the file is there, but the interpreter it names is not.
	Interpreter bool
}

func (e *CommandError) Error() string {
	switch {
	case e.Code == 127:
		return e.Name + ": not found in the container"
	case e.Interpreter:
		return e.Name + ": its interpreter (the #! line, or the dynamic loader) is not in the container"
	case e.Err == unix.ENOEXEC:
		return e.Name + ": not a program for this machine, and no script with a #! line"
	}
	return e.Name + ": " + e.Err.Error()
}

func (e *CommandError) Unwrap() error { return e.Err }

// Hint is the next step for the user, "" if none is known.
func (e *CommandError) Hint() string {
	switch {
	case e.Code == 127 && strings.HasPrefix(e.Name, "/"):
		return "it is looked for inside, not on the host; install it in the root (--include at build), or add it with --bind"
	case e.Code == 127 && strings.Contains(e.Name, "/"):
		return e.Name + " is looked for in the working directory inside; see --workdir"
	case e.Code == 127:
		return "it is looked for in PATH inside; install it in the root (--include at build), or give a full path"
	case e.Interpreter:
		return "install the interpreter in the root, or use a program built for it"
	case e.Err == unix.EACCES:
		return "make it executable (chmod +x), and check that its file system allows programs"
	}
	return ""
}

// rootError is the answer to a user without the rights of root.
func rootError() error {
	return &SpecError{Problem: "containers need root rights", Fix: "run it with sudo"}
}

// stepError wraps err unless it already names its step.
func stepError(op Op, call string, err error) error {
	if err == nil {
		return nil
	}
	var s *StepError
	if errors.As(err, &s) {
		return err
	}
	return &StepError{Op: op, Call: call, Err: err}
}
