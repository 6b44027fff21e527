package runner

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What an outer container has to grant. Docker's own client alone knows systempaths; without it /proc is the outer one's.
const (
	dockerLine = "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
	chrootLine = "docker run --cap-add SYS_CHROOT --cap-add MKNOD"
)

// outerLines are the same for each kind of outer container, whole.
func outerLines() []string {
	return []string{
		"Docker, Podman: " + dockerLine,
		"Docker, build alone, by chroot: " + chrootLine,
		"GitLab, config.toml:",
		"  [runners.docker]",
		`    security_opt = ["seccomp:unconfined", "apparmor:unconfined"]`,
		"Kubernetes, the container:",
		"  securityContext:",
		"    seccompProfile: {type: Unconfined}",
		"    appArmorProfile: {type: Unconfined}",
		`    capabilities: {add: ["SYS_CHROOT", "MKNOD"]}`,
	}
}

// outerHint is the short form, for errors.
func outerHint() string { return OuterHint() }

// OuterHint is the short form of what outer containers have to grant.
func OuterHint() string {
	if CanChroot() {
		return "build works here by chroot, and run with --isolation=chroot, which isolates little; for all of it start the outer container with more rights: " +
			dockerLine + " (GitLab, Kubernetes: rootctl doctor)"
	}
	hint := "in a container start it with more rights: " + dockerLine + " (GitLab, Kubernetes: rootctl doctor)"
	if os.Geteuid() != 0 {
		hint += "; or run rootctl with sudo"
	}
	return hint
}

// CanChroot says whether what is isolated by chroot alone can be made here: by root that may chroot and make nodes.
func CanChroot() bool { return os.Geteuid() == 0 && Capable("SYS_CHROOT") && Capable("MKNOD") }

// CanMount says whether there can be a mount namespace, with mounts in it, and one of processes.
func CanMount() bool {
	return trial{flags: unix.CLONE_NEWNS | unix.CLONE_NEWPID, calls: func(l *lowering) {
		l.add("mount", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_SLAVE, 0)
	}}.run() == nil
}

// Refused says whether an error is that of namespaces that the kernel, or a filter, does not grant.
func Refused(err error) bool {
	var step *StepError
	var enter *EnterError
	if !(errors.As(err, &step) && step.newNamespaces()) && !errors.As(err, &enter) {
		return false
	}
	var no syscall.Errno
	if !errors.As(err, &no) {
		return false
	}
	return no == unix.EPERM || no == unix.EACCES || no == unix.EINVAL || no == unix.ENOSYS || no == unix.ENOSPC
}

// OwnMap maps root, and the ids that this process knows besides, to themselves: for root without the right to mount,
// which has that right in a user namespace only.
func OwnMap() (*UserMap, error) {
	m := &UserMap{own: true, Why: "root has no other ids here", Fix: "more ids for the outer container"}
	for file, to := range map[string]*[]IDRange{"/proc/self/uid_map": &m.UIDs, "/proc/self/gid_map": &m.GIDs} {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, enterError("read", err)
		}
		// The first line is that of id 0; more than one range cannot be known to lie side by side outside.
		f := strings.Fields(string(b))
		if len(f) < 3 || f[0] != "0" {
			return nil, enterError("read "+file, unix.EINVAL)
		}
		n, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			return nil, enterError("read "+file, err)
		}
		if n > 1 {
			*to = []IDRange{{1, uint32(min(n, blockID)) - 1}}
		}
	}
	if m.Single() || len(m.GIDs) == 0 {
		m.UIDs, m.GIDs, m.own = nil, nil, false
	}
	return m, nil
}

// rungOf says, by what was found of namespaces, how far containers here are apart from what is outside.
func rungOf(found []Finding) Finding {
	ok := map[string]bool{}
	for _, f := range found {
		ok[f.Probe] = f.OK
	}
	f := Finding{Probe: "isolation", Needed: true}
	switch {
	case ok["user namespace"] && ok["other namespaces"] && ok["mount"]:
		f.OK, f.Found = true, "namespaces"
		if !ok["fresh proc"] || !ok["fresh sysfs"] {
			f.Found, f.Lines = "namespaces, but /proc or /sys of the outside", outerLines()
		}
	case os.Geteuid() == 0 && Capable("SYS_ADMIN") && CanMount():
		f.Found, f.Fix = "namespaces, but none of users", "run and build with --userns=host: root inside is then root here"
	case CanChroot():
		f.Found, f.Fix, f.Lines = "chroot alone", "build works; run --isolation=chroot isolates files only. For all of it start the outer container so:", outerLines()
	default:
		f.Found, f.Fix, f.Lines = "none: neither namespaces nor chroot", "in a container start the outer one so:", outerLines()
		if os.Geteuid() != 0 {
			f.Fix = "sudo rootctl; in a container start the outer one so:"
		}
	}
	return f
}
