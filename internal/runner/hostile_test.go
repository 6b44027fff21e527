package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHostileRoot puts something else in the place of each directory or file that the runner touches. Nothing outside
// may change and nothing may hang; the run itself must work, but for the cases that say otherwise.
func TestHostileRoot(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	for _, d := range []string{"etc", "dir"} {
		if err := os.Mkdir(filepath.Join(outside, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"file", "etc/hosts", "etc/hostname", "etc/resolv.conf"} {
		if err := os.WriteFile(filepath.Join(outside, f), []byte("outside\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	before := treeText(t, outside)

	kinds := map[string]func(name string) error{
		"absolute link": func(n string) error { return os.Symlink(filepath.Join(outside, "etc"), n) },
		"relative link": func(n string) error { return os.Symlink("../../../../../../.."+outside+"/etc", n) },
		"dangling link": func(n string) error { return os.Symlink("/nowhere/at/all", n) },
		"link to /":     func(n string) error { return os.Symlink("/", n) },
		"link to self":  func(n string) error { return os.Symlink(filepath.Base(n), n) },
		"magic link":    func(n string) error { return os.Symlink("/proc/self/cwd", n) },
		"fifo":          func(n string) error { return unix.Mkfifo(n, 0o666) },
		"file":          func(n string) error { return os.WriteFile(n, []byte("x"), 0o666) },
		"device":        func(n string) error { return unix.Mknod(n, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) },
	}
	const check = `test -d /proc/self -a -c /dev/null -a -d /dev/pts -a -d /sys/class -a -d /tmp -a ! -L /tmp -a -d /run -a ! -L /run || exit 1
		read h < /etc/hostname; test "$h" = rootctl || exit 2; read h < /etc/hosts; test "$h" = "127.0.0.1 localhost rootctl" || exit 3
		echo x > /dev/null; echo y > /etc/resolv.conf; echo z > /tmp/z; echo ok`
	for _, name := range []string{"proc", "dev", "sys", "tmp", "run", "etc", "etc/hosts", "etc/hostname", "etc/resolv.conf", "dev/null", "dev/pts"} {
		for kind, put := range kinds {
			for _, userns := range []string{"own", "host"} {
				t.Run(name+" as "+kind+" "+userns, func(t *testing.T) {
					root := thinRoot(t)
					at := filepath.Join(root, name)
					if err := os.RemoveAll(at); err != nil {
						t.Fatal(err)
					}
					if err := put(at); err != nil {
						t.Fatal(err)
					}
					s := shell(t, check)
					s.Lower, s.UserNS = []string{root, s.Lower[0]}, userns
					if r := try(t, s, Options{}); r.out != "ok\n" || r.failure != nil {
						t.Errorf("%+v", r)
					}
					if after := treeText(t, outside); after != before {
						t.Errorf("outside has changed:\n%s\n%s", before, after)
					}
				})
			}
		}
	}
}

// thinRoot is a layer with the directories that the runner touches, to be laid over the shared root.
func thinRoot(t *testing.T) string {
	root := t.TempDir()
	for _, d := range []string{"proc", "dev", "sys", "tmp", "run", "etc"} {
		if err := os.Mkdir(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// TestHostileNamesThatAreDirectories: a directory in the place of a file is not removed; the run fails and says where.
func TestHostileNamesThatAreDirectories(t *testing.T) {
	root := thinRoot(t)
	if err := os.MkdirAll(filepath.Join(root, "etc/hosts/deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := shell(t, "true")
	s.Lower = []string{root, s.Lower[0]}
	r := try(t, s, Options{})
	if r.status.Code != 125 || r.failure == nil || !strings.Contains(r.failure.Error(), "/etc/hosts") {
		t.Errorf("%+v", r)
	}
}

// TestHostileDirInPlace: in a directory used in place nothing is removed, so links in the way end the run.
func TestHostileDirInPlace(t *testing.T) {
	outside := t.TempDir()
	before := treeText(t, outside)
	for _, name := range []string{"proc", "sys", "dev"} {
		for _, target := range []string{outside, "../../.." + outside, "/nowhere", "tmp"} {
			root := copyRoot(t)
			at := filepath.Join(root, name)
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(target, at); err != nil {
				t.Fatal(err)
			}
			s := shell(t, "true")
			s.Lower, s.Dir, s.UserNS = nil, root, "host"
			r := try(t, s, Options{})
			if r.status.Code != 125 || r.failure == nil {
				t.Errorf("%s -> %s: %+v", name, target, r)
			}
			if got, err := os.Readlink(at); err != nil || got != target {
				t.Errorf("%s was replaced: %q %v", name, got, err)
			}
		}
	}
	if after := treeText(t, outside); after != before {
		t.Error("outside has changed")
	}
}

// TestHostileCommandAndPlace: links in the command, the working directory and passwd lead only to places inside.
func TestHostileCommandAndPlace(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("outside\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	root := thinRoot(t)
	for name, target := range map[string]string{"work": outside, "bin2": outside + "/secret", "up": "../../../../../.." + outside} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"/work", "/up", "/proc/self/fd/3", "/proc/1/root/../../.." + outside, "/../../.." + outside} {
		s := shell(t, "cat secret")
		s.Lower, s.Workdir = []string{root, s.Lower[0]}, dir
		if r := try(t, s, Options{}); strings.Contains(r.out, "outside") || r.status.Code == 0 {
			t.Errorf("workdir %s: %+v", dir, r)
		}
	}
	s := shell(t, "")
	s.Lower, s.Argv = []string{root, s.Lower[0]}, []string{"/bin2"}
	if r := try(t, s, Options{}); r.status.Code != 127 {
		t.Errorf("command: %+v", r)
	}
}

// TestGuards tries what a root inside must not be able to do, in both id modes.
func TestGuards(t *testing.T) {
	needRoot(t)
	for _, userns := range []string{"own", "host"} {
		for what, script := range map[string]string{
			"write core_pattern":      "echo x > /proc/sys/kernel/core_pattern",
			"sysrq":                   "echo x > /proc/sysrq-trigger",
			"write uevent_helper":     "echo x > /sys/kernel/uevent_helper",
			"read kcore":              "test -s /proc/kcore || head -c1 /proc/kcore | grep -q .",
			"read keys":               "read x < /proc/keys",
			"read timer_list":         "read x < /proc/timer_list",
			"change the host's node":  "chmod 600 /dev/null",
			"replace a node":          "rm /dev/null",
			"unmount a mask":          "umount /proc/keys",
			"unmount proc":            "umount -l /proc",
			"remount sys":             "mount -o remount,rw /sys",
			"mount":                   "mount -t tmpfs x /tmp",
			"use a made device":       "mknod /d c 1 5 && head -c1 /d",
			"use a device in /dev":    "mknod /dev/d c 1 5 && head -c1 /dev/d",
			"use a device in /run":    "mknod /run/d c 1 5 && head -c1 /run/d",
			"use a device in shm":     "mknod /dev/shm/d c 1 5 && head -c1 /dev/shm/d",
			"write to the host's sys": "echo x > /sys/power/state",
			"see the old root":        "test -e /proc/1/root/.. -a -e /old",
			"signal the host":         "kill -0 " + itoa(os.Getpid()),
		} {
			t.Run(what+" "+userns, func(t *testing.T) {
				s := shell(t, script+" 2>/dev/null && echo DONE; :")
				s.UserNS = userns
				if r := try(t, s, Options{}); r.failure != nil || strings.Contains(r.out, "DONE") {
					t.Errorf("%+v", r)
				}
			})
		}
	}
}

// TestMountsDoNotPropagate: what is mounted inside with the right to do so does not appear on the host, nor the other
// way round after the start.
func TestMountsDoNotPropagate(t *testing.T) {
	dir := t.TempDir()
	s := shell(t, "mount -t tmpfs x /mnt && echo y > /mnt/f && cat /mnt/f")
	s.Caps, s.Seccomp = append(DefaultCaps(), "CAP_SYS_ADMIN"), "none" // the filter knows no mount
	s.Binds = []Bind{{Src: dir, Dst: "/mnt"}}
	if got := must(t, s); got != "y\n" {
		t.Errorf("got %q", got)
	}
	if exists(filepath.Join(dir, "f")) {
		t.Error("the mount shows on the host")
	}
}

// TestSwappedMountpoints: another process exchanges directories and links while a directory is used in place.
func TestSwappedMountpoints(t *testing.T) {
	outside, root := t.TempDir(), copyRoot(t)
	for _, n := range []string{"proc", "sys", "dev"} {
		if err := os.Symlink(outside, filepath.Join(root, "."+n)); err != nil {
			t.Fatal(err)
		}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, n := range []string{"proc", "sys", "dev"} {
				unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, n), unix.AT_FDCWD, filepath.Join(root, "."+n), unix.RENAME_EXCHANGE)
			}
		}
	}()
	worked := 0
	for range 40 {
		s := shell(t, "test -c /dev/null")
		s.Lower, s.Dir, s.UserNS = nil, root, "host"
		if r := try(t, s, Options{}); r.failure == nil {
			worked++
		}
		if names, err := os.ReadDir(outside); err != nil || len(names) != 0 {
			t.Fatalf("outside: %v %v", names, err)
		}
		if m, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(m), outside) {
			t.Fatal("mounted outside")
		}
	}
	close(stop)
	<-done
	t.Logf("%d of 40 runs found directories", worked)
}
