package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Finding is what one probe found.
type Finding struct {
	Probe string `json:"probe"`
	OK    bool   `json:"ok"`
	// Needed says that run or build do not work without it, as far as is known; else something stands in or is missed.
	Needed bool   `json:"needed"`
	Found  string `json:"found,omitempty"` // the refusal, or what is there
	Fix    string `json:"fix,omitempty"`
	// Lines are what to write where, one of them as a rule.
	Lines []string `json:"lines,omitempty"`
	// Repairable says that Repair does it.
	Repairable bool `json:"repairable,omitempty"`
}

// Checkup says what to look at.
type Checkup struct {
	Cache string   // folder of the cache; it need not be there
	User  *UserMap // of the ordinary user, nil for root
	Path  []string // where programs are looked for
}

// Findings probes, by doing it in throw-away children, what containers need. Nothing stays.
func (c Checkup) Findings() []Finding {
	var all []Finding
	add := func(name string, needed bool, err error, fix string) {
		f := Finding{Probe: name, OK: err == nil, Needed: needed}
		if err != nil {
			f.Found, f.Fix = err.Error(), fix
		}
		all = append(all, f)
	}
	one := c.single()
	in := func(flags uintptr, calls func(*lowering)) error {
		return trial{flags: unix.CLONE_NEWUSER | flags, users: one, calls: calls}.run()
	}
	slave := func(l *lowering) { l.add("mount", unix.SYS_MOUNT, 0, "/", 0, unix.MS_REC|unix.MS_SLAVE, 0) }
	mounts := func(typ string, options ...string) func(*lowering) {
		return func(l *lowering) { slave(l); l.filesystem(typ, attrsData, options, slotMount) }
	}
	all = append(all, Finding{})
	err := in(0, nil)
	add("user namespace", true, err, refusalHint(err))
	err = in(unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWNET|unix.CLONE_NEWUTS|unix.CLONE_NEWIPC|unix.CLONE_NEWCGROUP, nil)
	add("other namespaces", true, err, refusalHint(err))
	all = append(all, c.ranges())
	err = in(unix.CLONE_NEWNS, mounts("tmpfs"))
	add("mount", true, err, refusalHint(err))
	err = in(unix.CLONE_NEWNS|unix.CLONE_NEWPID, mounts("proc"))
	add("fresh proc", false, err, maskedHint)
	err = in(unix.CLONE_NEWNS|unix.CLONE_NEWNET, mounts("sysfs"))
	add("fresh sysfs", false, err, maskedHint)
	all[0] = rungOf(all)
	all = append(all, c.onDisk(in, slave)...)
	err = c.pidfd()
	add("pidfd", true, err, tooOldHint)
	err = trial{calls: func(l *lowering) {
		l.add("prctl", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		l.add("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, fsyncFilter(l.table))
	}}.run()
	add("seccomp filter", true, err, "a kernel with CONFIG_SECCOMP_FILTER is needed")
	err = in(unix.CLONE_NEWNET, func(l *lowering) {
		l.add("socket netfilter", unix.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		l.add("socket", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0).to(slotMount)
		l.add("bridge", unix.SYS_IOCTL, slotMount, unix.SIOCBRADDBR, "rootctl-probe\x00")
	})
	add("bridge and nftables, for --net=nat as root", false, err, "sudo modprobe -a bridge nf_tables, or --net=host")
	return append(all, c.host()...)
}

// single maps the caller alone; root has a right to more, and needs it no more than that here.
func (c Checkup) single() *UserMap {
	return &UserMap{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}

// ranges writes the map that a run would.
func (c Checkup) ranges() Finding {
	f := Finding{Probe: "id ranges"}
	m := c.User
	if m == nil {
		err := trial{flags: unix.CLONE_NEWUSER, while: func(pid int) error {
			return writeMaps(pid, owner{firstID, firstID}.maps(IDRange{firstID, blockID}))
		}}.run()
		if f.OK, f.Needed = err == nil, true; err != nil {
			f.Found, f.Fix = err.Error(), "in a container start it with more rights ("+dockerLine+"); or --userns=host"
		}
		return f
	}
	if m.Single() {
		f.Found, f.Fix, f.Repairable = m.Why+": everything inside belongs to you alone", m.Fix, true
		return f
	}
	if err := (trial{flags: unix.CLONE_NEWUSER, users: m}).run(); err != nil {
		f.Found, f.Fix = err.Error(), "sudo apt-get install --reinstall uidmap: newuidmap and newgidmap need their rights"
		if m.own {
			f.Fix = seeFirst
		}
		return f
	}
	f.OK = true
	return f
}

// onDisk probes what depends on the cache's file system, in a folder that is removed.
func (c Checkup) onDisk(in func(uintptr, func(*lowering)) error, slave func(*lowering)) []Finding {
	parent := c.Cache
	for parent != "/" && !exist(parent) {
		parent = filepath.Dir(parent)
	}
	dir, err := os.MkdirTemp(parent, ".rootctl-doctor-")
	if err != nil {
		return []Finding{{Probe: "write to the cache", Needed: true, Found: err.Error(), Fix: "choose a folder with --cache DIR or ROOTCTL_CACHE"}}
	}
	defer func() {
		// Overlay leaves folders without any rights, into which only root can look.
		for _, d := range []string{"work", "work/incompat", "work/incompat/volatile"} {
			names, _ := filepath.Glob(filepath.Join(dir, "*", "w", d))
			for _, n := range names {
				_ = os.Chmod(n, 0o700)
			}
		}
		os.RemoveAll(dir)
	}()
	list := []Finding{{Probe: "write to the cache", OK: true, Needed: true, Found: parent}}
	tries := 0
	overlay := func(name string, needed bool, fix string, layers func(l *lowering, dir string), options ...string) {
		tries++
		sub := filepath.Join(dir, fmt.Sprint(tries))
		for _, d := range []string{"l", "u", "w"} {
			_ = os.MkdirAll(filepath.Join(sub, d), 0o755) // the mount tells
		}
		err := in(unix.CLONE_NEWNS, func(l *lowering) {
			slave(l)
			l.add("fsopen overlay", unix.SYS_FSOPEN, "overlay", unix.FSOPEN_CLOEXEC).to(slotFS)
			layers(l, sub)
			for _, o := range append(options, "upperdir="+sub+"/u", "workdir="+sub+"/w") {
				if k, v, ok := strings.Cut(o, "="); ok {
					l.add("fsconfig "+k, unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_SET_STRING, k, v, 0)
				} else {
					l.add("fsconfig "+o, unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_SET_FLAG, o, 0, 0)
				}
			}
			l.add("fsconfig create", unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_CMD_CREATE, 0, 0, 0)
			l.add("fsmount", unix.SYS_FSMOUNT, slotFS, unix.FSMOUNT_CLOEXEC, 0)
		})
		f := Finding{Probe: name, OK: err == nil, Needed: needed}
		if err != nil {
			f.Found, f.Fix = err.Error(), fix
		}
		list = append(list, f)
	}
	byPath := func(l *lowering, dir string) {
		l.add("fsconfig lowerdir", unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_SET_STRING, "lowerdir", dir+"/l", 0)
	}
	overlay("overlay", true, overlayHint, byPath, "userxattr")
	overlay("overlay volatile", true, "Linux 5.10 or newer is needed", byPath, "userxattr", "volatile")
	overlay("overlay lowerdir+", false, "none needed: layers are given by path (before Linux 6.5)", func(l *lowering, dir string) {
		l.add("fsconfig lowerdir+", unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_SET_STRING, "lowerdir+", dir+"/l", 0)
	}, "userxattr")
	overlay("overlay SET_FD", false, "none needed: layers are given by path (before Linux 6.13)", func(l *lowering, dir string) {
		l.add("open", unix.SYS_OPENAT, at, dir+"/l", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0).to(slotDir)
		l.add("fsconfig lowerdir+ by descriptor", unix.SYS_FSCONFIG, slotFS, unix.FSCONFIG_SET_FD, "lowerdir+", 0, slotDir)
	}, "userxattr")
	if c.User == nil {
		err := c.idmap(dir)
		f := Finding{Probe: "idmapped mount of the cache", OK: err == nil, Needed: true}
		if err != nil {
			f.Found, f.Fix = err.Error(), idmapHint
		}
		list = append(list, f)
	}
	return append(list, c.lock(dir), space(dir))
}

func (c Checkup) idmap(dir string) error {
	return trial{flags: unix.CLONE_NEWUSER, while: func(pid int) error {
		if err := writeMaps(pid, owner{firstID, firstID}.maps(IDRange{firstID, blockID})); err != nil {
			return err
		}
		users, err := openUserNS(pid)
		if err != nil {
			return err
		}
		defer unix.Close(users)
		fd, err := cloneTree(Op{Verb: VerbTree, Attrs: unix.MOUNT_ATTR_IDMAP}, dir, users)
		if err == nil {
			unix.Close(fd)
		}
		return err
	}}.run()
}

func (c Checkup) lock(dir string) Finding {
	f := Finding{Probe: "locks in the cache", Needed: true}
	var fds [2]*os.File
	for i := range fds {
		var err error
		if fds[i], err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			f.Found = err.Error()
			return f
		}
		defer fds[i].Close()
	}
	first := unix.Flock(int(fds[0].Fd()), unix.LOCK_EX|unix.LOCK_NB)
	second := unix.Flock(int(fds[1].Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if f.OK = first == nil && errors.Is(second, unix.EWOULDBLOCK); !f.OK {
		f.Found, f.Fix = fmt.Sprintf("flock: %v, and a second one: %v", first, second), "a cache on a local file system: --cache DIR"
	}
	return f
}

func space(dir string) Finding {
	f := Finding{Probe: "free space"}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		f.Found = err.Error()
		return f
	}
	free := st.Bavail * uint64(st.Bsize)
	f.Found = fmt.Sprintf("%d MB", free/1e6)
	if f.OK = free > 1e9; !f.OK {
		f.Fix = "a root takes 100 to 600 MB: rootctl cache gc, or --cache DIR on another disk"
	}
	return f
}

func (c Checkup) pidfd() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return &callError{"pidfd_open", err}
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, 0, nil, 0); err != nil {
		return &callError{"pidfd_send_signal", err}
	}
	return nil
}

// host looks at what some flags need beside the kernel.
func (c Checkup) host() []Finding {
	return []Finding{limits(), c.emulators(), ownProgram(), armour()}
}

func limits() Finding {
	f := Finding{Probe: "cgroups, for limits", Fix: "boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or run it as root"}
	var works []string
	if b, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		works = strings.Fields(string(b))
	} else {
		for _, n := range []string{"memory", "cpu", "pids"} {
			dir := filepath.Join("/sys/fs/cgroup", n, fmt.Sprintf("rootctl-doctor-%d", os.Getpid()))
			if exist(filepath.Dir(dir)) && os.Mkdir(dir, 0o755) == nil {
				works = append(works, n+" (v1)")
				_ = os.Remove(dir) // empty and ours
			}
		}
	}
	if f.Found = strings.Join(works, " "); f.Found != "" {
		f.OK, f.Fix = true, ""
	}
	return f
}

func (c Checkup) emulators() Finding {
	f := Finding{Probe: "binfmt_misc and qemu, for other architectures", Fix: "sudo apt-get install qemu-user-static"}
	for _, n := range []string{"qemu-aarch64-static", "qemu-x86_64-static", "qemu-aarch64", "qemu-x86_64"} {
		if p := program(n, c.Path); p != "" {
			f.OK, f.Found, f.Fix = true, p, ""
			return f
		}
	}
	return f
}

func ownProgram() Finding {
	f := Finding{Probe: "rootctl's own program", Needed: true}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/exe", &st); err != nil {
		f.Found = err.Error()
		return f
	}
	if f.OK = st.Mode&0o022 == 0 && (st.Uid == 0 || int(st.Uid) == os.Geteuid() || os.Geteuid() == 0); !f.OK {
		f.Found, f.Fix = fmt.Sprintf("owner %d, mode %04o: others can change it", st.Uid, st.Mode&0o7777), "chmod go-w on it, or install it as root"
	}
	return f
}

// armour is AppArmor's restriction of user namespaces on Ubuntu from 24.04 on.
func armour() Finding {
	f := Finding{Probe: "AppArmor leaves user namespaces alone", OK: true}
	if sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1" && os.Geteuid() != 0 {
		f.OK, f.Found, f.Fix, f.Repairable = false, "kernel.apparmor_restrict_unprivileged_userns is 1", apparmorHint, true
	}
	return f
}

func exist(name string) bool { _, err := os.Lstat(name); return err == nil }

// refusalHint is for a namespace, or the first right in one, that was refused.
func refusalHint(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return ""
	}
	hint := namespaceHint("", "")
	var e *EnterError
	if errors.As(enterError("", no), &e) && e.next != "" {
		hint = e.next
	}
	if strings.HasPrefix(hint, forbidden) {
		return seeFirst
	}
	return hint
}

// seeFirst names the finding that says it all.
const seeFirst = "that of isolation, above"
