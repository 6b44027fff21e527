package runner

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// without leaves operations out of the plan.
func without(drop func(Op) bool) weakening {
	return weakening{plan: func(p Plan) Plan { return slices.DeleteFunc(slices.Clone(p), drop) }}
}

// allowing takes attributes away from the mounts of a plan.
func allowing(v Verb, target string, attrs uint64) weakening {
	return weakening{plan: func(p Plan) Plan {
		p = slices.Clone(p)
		for i := range p {
			if p[i].Verb == v && (target == "" || p[i].Target == target) {
				p[i].Attrs &^= attrs
			}
		}
		return p
	}}
}

// omitting makes the system calls that match do nothing, which nobody notices: getpid.
func omitting(match func(name string, c *call) bool) weakening {
	return weakening{calls: func(t *table) {
		for i := range t.calls {
			if t.calls[i].kind == kindCall && match(t.name[i], &t.calls[i]) {
				t.calls[i] = call{nr: unix.SYS_GETPID}
			}
		}
	}}
}

func verb(v Verb, target string) weakening {
	return without(func(o Op) bool { return o.Verb == v && (target == "" || o.Target == target) })
}

func prctl(option int) weakening {
	return omitting(func(name string, c *call) bool { return c.nr == unix.SYS_PRCTL && c.arg[0] == uintptr(option) })
}

// weakenings are the guards that can be left out, one at a time.
func weakenings() map[string]weakening {
	all := map[string]weakening{
		"system call filter":            without(func(o Op) bool { return o.Verb == VerbFilter && o.Type == "default" }),
		"capabilities":                  verb(VerbCaps, ""),
		"bounding set":                  prctl(unix.PR_CAPBSET_DROP),
		"mask of a file":                verb(VerbMask, "/proc/interrupts"),
		"mask of a folder":              verb(VerbMask, "/sys/firmware"),
		"read-only /proc/sys":           verb(VerbReadOnly, "/proc/sys"),
		"read-only /proc/irq and sysrq": without(func(o Op) bool { return o.Verb == VerbReadOnly && o.Target != "/proc/sys" }),
		"read-only /sys":                allowing(VerbMount, "/sys", unix.MOUNT_ATTR_RDONLY),
		"read-only devices":             allowing(VerbNode, "", unix.MOUNT_ATTR_RDONLY),
		"closed descriptors":            omitting(func(name string, c *call) bool { return c.nr == unix.SYS_CLOSE_RANGE }),
		"undumpable":                    prctl(unix.PR_SET_DUMPABLE),
		"old root":                      omitting(func(name string, c *call) bool { return c.nr == unix.SYS_UMOUNT2 }),
		"private binds": {plan: func(p Plan) Plan {
			p = slices.Clone(p)
			for i := range p {
				p[i].shared = p[i].Verb == VerbBindSrc
			}
			return p
		}},
		"nosuid of binds":   allowing(VerbBindSrc, "", unix.MOUNT_ATTR_NOSUID),
		"nodev of binds":    allowing(VerbBindSrc, "", unix.MOUNT_ATTR_NODEV),
		"nodev of copies":   allowing(VerbOverlay, "", unix.MOUNT_ATTR_NODEV),
		"no new privileges": verb(VerbNoPrivs, ""),
		"session keyring":   omitting(func(name string, c *call) bool { return c.nr == unix.SYS_KEYCTL }),
		"keeper":            verb(VerbKeeper, ""),
		"death with the host process": {
			plan:  verb(VerbKeeper, "").plan,
			calls: prctl(unix.PR_SET_PDEATHSIG).calls,
		},
	}
	maps.Copy(all, moreWeakenings())
	return all
}

// guardCheck runs something hostile. What it prints must hold REACHED if, and only if, the guard is off.
type guardCheck struct {
	guard  string
	script string
	// prepare sets up what the script is after. Guards besides the one that is tested, and that would hide its absence,
	// are off in the Spec in both runs.
	prepare func(t *testing.T, s *Spec)
	// off is how the guard goes off by the Spec; nil means by its entry of weakenings.
	off func(s *Spec)
	// after looks on the host whether something has been reached.
	after func(t *testing.T, s *Spec) bool
}

func hostUsers(_ *testing.T, s *Spec) { s.UserNS = "host" }

func withCaps(names ...string) func(*testing.T, *Spec) {
	return func(_ *testing.T, s *Spec) { s.Caps = append(DefaultCaps(), names...); s.Seccomp = "none" }
}

func guardChecks() []guardCheck {
	return []guardCheck{
		{guard: "system call filter", script: "unshare -U true && echo REACHED"},
		{guard: "capabilities", prepare: func(_ *testing.T, s *Spec) { s.Seccomp = "none" }, script: "mount -t tmpfs x /home && echo REACHED"},
		{guard: "bounding set", prepare: func(_ *testing.T, s *Spec) { s.Seccomp = "none" }, script: "mount -t tmpfs x /home && echo REACHED"},
		{guard: "mask of a file", script: "read x < /proc/interrupts && echo REACHED"},
		{guard: "mask of a folder", script: "test -n \"$(ls /sys/firmware)\" && echo REACHED"},
		{guard: "read-only /proc/sys", prepare: hostUsers, script: "(: >> /proc/sys/kernel/core_pattern) && echo REACHED"},
		{guard: "read-only /proc/irq and sysrq", prepare: hostUsers, script: "for f in /proc/sysrq-trigger /proc/irq/default_smp_affinity; do test -e $f && (: >> $f) && echo REACHED; done"},
		{guard: "read-only /sys", prepare: hostUsers, script: "for f in /sys/kernel/uevent_helper /sys/kernel/profiling /sys/kernel/uevent_seqnum /sys/kernel/mm/*/enabled /sys/block/*/queue/nr_requests; do (: >> $f) && echo REACHED; done"},
		{guard: "read-only devices", prepare: hostUsers, script: "chmod 666 /dev/null && echo REACHED"},
		{guard: "closed descriptors", prepare: inheritSecret, script: "read x < /proc/self/fd/99/secret && echo $x"},
		// Several times: until the reaper has given up its capabilities, they are more than ours.
		{guard: "undumpable", prepare: func(_ *testing.T, s *Spec) { s.UserNS, s.Init = "host", true }, script: "for i in 1 2 3 4 5 6 7 8; do readlink /proc/1/exe && echo REACHED && break; sleep 0.02; done"},
		{guard: "old root", prepare: hostUsers, script: "read x < /..$SECRET && echo $x"},
		{guard: "private binds", prepare: sharedBind, script: "mount -t tmpfs x /mnt/sub && : > /mnt/sub/made; sleep 0.01", after: func(_ *testing.T, s *Spec) bool {
			return exists(filepath.Join(s.Binds[0].Src, "sub", "made"))
		}},
		{guard: "nosuid of binds", prepare: hostileBind, script: "test $(setpriv --reuid 1000 --clear-groups /mnt/suid -u) = 0 && echo REACHED"},
		{guard: "nodev of binds", prepare: hostileBind, script: "test $(head -c 1 /mnt/zero | wc -c) = 1 && echo REACHED"},
		{guard: "nodev of copies", prepare: hostUsers, script: "mknod /zero c 1 5 && test $(head -c 1 /zero | wc -c) = 1 && echo REACHED"},
		{guard: "no new privileges", prepare: hostUsers, script: "cp /bin/id /id && chmod 4755 /id && test $(setpriv --reuid 1000 --clear-groups /id -u) = 0 && echo REACHED"},
		{guard: "session keyring", prepare: keyOfSession, script: "/mnt/probe && echo REACHED"},
		{guard: "user namespace", prepare: rootsBind, off: func(s *Spec) { s.UserNS = "host" }, script: "read x < /mnt/secret && echo $x"},
		{guard: "process namespace", prepare: hostUsers, off: func(s *Spec) { s.Share = []string{"pid"} }, script: "kill -0 $HOST && echo REACHED"},
		{guard: "ipc namespace", prepare: hostUsers, off: func(s *Spec) { s.Share = []string{"ipc"} }, script: "while read key id x; do test $id = $SEGMENT && echo REACHED; done < /proc/sysvipc/shm"},
		{guard: "network namespace", off: func(s *Spec) { s.Net = "host" }, script: "while read line; do case $line in *$SOCKET*) echo REACHED;; esac; done < /proc/net/unix"},
	}
}

// TestGuardsMatter runs a hostile script with each guard, when it must be kept from what it is after, and without, when it
// must get there. Otherwise nobody would notice if the guard went.
func TestGuardsMatter(t *testing.T) {
	needRoot(t)
	// Tests before this one change the ids of threads, which makes this process undumpable, and so what it forks.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	segment, err := unix.SysvShmGet(0x726f6f74, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.SysvShmCtl(segment, unix.IPC_RMID, nil)
	socket := fmt.Sprintf("guards-%d", os.Getpid())
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: "@" + socket}); err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("REACHED\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range append(guardChecks(), moreGuardChecks()...) {
		t.Run(c.guard, func(t *testing.T) {
			s := shell(t, c.script)
			s.Env = append(s.Env, "SECRET="+secret, fmt.Sprint("HOST=", os.Getpid()), fmt.Sprint("SEGMENT=", segment), "SOCKET="+socket)
			if c.prepare != nil {
				c.prepare(t, &s)
			}
			if reached, r := c.reaches(t, s, weakening{}); reached {
				t.Errorf("with the guard: %+v", r)
			}
			weak, known := weakenings()[c.guard]
			if c.off != nil {
				c.off(&s)
			} else if !known {
				t.Fatal("no such guard")
			}
			if reached, r := c.reaches(t, s, weak); !reached {
				t.Errorf("without the guard nothing is reached, so this test notices nothing: %+v", r)
			}
		})
	}
}

func (c *guardCheck) reaches(t *testing.T, s Spec, w weakening) (bool, result) {
	t.Helper()
	r := try(t, s, Options{weak: w})
	if r.failure != nil {
		t.Errorf("the run itself: %v", r.failure)
	}
	return strings.Contains(r.out, "REACHED") || c.after != nil && c.after(t, &s), r
}

// inheritSecret leaves a folder of the host open without O_CLOEXEC.
func inheritSecret(t *testing.T, s *Spec) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("REACHED\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(dir, unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(fd, 99, 0); err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	t.Cleanup(func() { unix.Close(99) })
}

// sharedBind binds a mount of the host that passes on to its clones what is mounted below, and is told of theirs.
func sharedBind(t *testing.T, s *Spec) {
	dir := t.TempDir()
	if err := unix.Mount("x", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unix.Unmount(filepath.Join(dir, "sub"), unix.MNT_DETACH) // there only if the guard was off
		unix.Unmount(dir, unix.MNT_DETACH)
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.UserNS, s.Binds = "host", []Bind{{Src: dir, Dst: "/mnt"}}
	withCaps("CAP_SYS_ADMIN")(t, s)
}

// hostileBind binds a folder with a setuid program and a device.
func hostileBind(t *testing.T, s *Spec) {
	dir := t.TempDir()
	id, err := os.ReadFile(filepath.Join(s.Lower[0], "bin", "id"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "suid"), id, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Chmod(filepath.Join(dir, "suid"), 0o4755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mknod(filepath.Join(dir, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "zero"), 0o666); err != nil {
		t.Fatal(err)
	}
	s.Binds = []Bind{{Src: dir, Dst: "/mnt"}}
}

// keyOfSession puts a key into a session keyring of this thread, for nobody but its possessor, and binds a program that
// reads it.
func keyOfSession(t *testing.T, s *Spec) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: a program of a few instructions")
	}
	runtime.LockOSThread() // until the thread ends with the test
	if _, err := unix.KeyctlJoinSessionKeyring("guards"); err != nil {
		t.Fatal(err)
	}
	id, err := unix.AddKey("user", "guards", []byte("secret"), unix.KEY_SPEC_SESSION_KEYRING)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.KeyctlSetperm(id, 0x3f000000); err != nil {
		t.Fatal(err)
	}
	// keyctl(KEYCTL_READ, id, 0, 0) < 0 ? 1 : 0
	code := []byte{0xb8, 250, 0, 0, 0, 0xbf, 11, 0, 0, 0, 0xbe, byte(id), byte(id >> 8), byte(id >> 16), byte(id >> 24), 0x31, 0xd2,
		0x4d, 0x31, 0xd2, 0x0f, 5, 0xc1, 0xe8, 31, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "probe"), tinyELF(2, code), 0o755); err != nil {
		t.Fatal(err)
	}
	s.Binds, s.Seccomp = []Bind{{Src: dir, Dst: "/mnt"}}, "none"
}

// rootsBind binds what only root of the host may read.
func rootsBind(t *testing.T, s *Spec) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("REACHED\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Binds = []Bind{{Src: dir, Dst: "/mnt", Identity: true}}
}

// TestGuardsOfTheEndMatter: the host process is killed, and the command has cleared the signal it would get then, or the
// keeper is gone, too.
func TestGuardsOfTheEndMatter(t *testing.T) {
	root := sharedRoot(t)
	for _, x := range []struct {
		summary string
		argv    []string
		on, off string // weakenings
	}{
		{"keeper", []string{"setpriv", "--pdeathsig", "clear", "sleep"}, "", "keeper"},
		{"keeper, other user", []string{"setpriv", "--reuid", "1000", "--clear-groups", "sleep"}, "", "keeper"},
		{"death with the host process", []string{"sleep"}, "keeper", "death with the host process"},
	} {
		t.Run(x.summary, func(t *testing.T) {
			survives := func(weak string) bool {
				mark := sleeper()
				cmd := startHelper(t, job{Spec: Spec{Lower: []string{root}, Argv: append(slices.Clone(x.argv), mark), Env: []string{"PATH=/bin:/usr/bin"}}, Weak: weak}, nil, nil, os.Stderr)
				started(t, "sleep\x00"+mark)
				cmd.Process.Kill()
				cmd.Wait()
				left, limit := processes(t, mark), time.Now().Add(patience)
				if weak == x.off { // what still is there now stays
					limit = time.Now().Add(500 * time.Millisecond)
				}
				for ; time.Now().Before(limit); time.Sleep(10 * time.Millisecond) {
					if left = processes(t, mark); len(left) == 0 {
						return false
					}
				}
				for _, pid := range left { // with a mark of this test's own
					unix.Kill(pid, unix.SIGKILL)
				}
				return true
			}
			if survives(x.on) {
				t.Error("with the guard the command survives")
			}
			if !survives(x.off) {
				t.Error("without the guard the command ends, too: this test notices nothing")
			}
		})
	}
}
