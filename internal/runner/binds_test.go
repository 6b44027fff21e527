package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func itoa(n int) string { return strconv.Itoa(n) }

// folder makes a folder that belongs to someone on a file system of a kind.
func folder(t *testing.T, kind string, uid int) string {
	t.Helper()
	needRoot(t)
	top := t.TempDir()
	mount := func(source, typ, options string) {
		if err := unix.Mount(source, top, typ, 0, options); err != nil {
			t.Skipf("needs %s: %v", typ, err)
		}
		t.Cleanup(func() { unix.Unmount(top, unix.MNT_DETACH) })
	}
	switch kind {
	case "tmpfs":
		mount("tmpfs", "tmpfs", "")
	case "overlay":
		base := t.TempDir()
		if err := unix.Mount("tmpfs", base, "tmpfs", 0, ""); err != nil {
			t.Skipf("needs tmpfs: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(base, unix.MNT_DETACH) })
		for _, d := range []string{"l", "u", "w"} {
			if err := os.Mkdir(filepath.Join(base, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		mount("overlay", "overlay", fmt.Sprintf("lowerdir=%s/l,upperdir=%s/u,workdir=%s/w", base, base, base))
	}
	dir := filepath.Join(top, "project")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "there"), []byte("there\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{dir, filepath.Join(dir, "there")} {
		if err := os.Chown(n, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestBindBelongsToItsOwner: root inside can read and write, and what it makes belongs to the folder's owner.
func TestBindBelongsToItsOwner(t *testing.T) {
	for _, kind := range []string{"disk", "tmpfs", "overlay"} {
		for _, userns := range []string{"own", "host"} {
			for _, uid := range []int{1000, 0} {
				t.Run(fmt.Sprintf("%s %s %d", kind, userns, uid), func(t *testing.T) {
					dir := folder(t, kind, uid)
					s := shell(t, "cat there && touch x && mkdir -p d && echo y >> there && stat -c '%u:%g' there x .")
					s.Binds, s.Workdir, s.UserNS = []Bind{{Src: dir}}, dir, userns
					r := try(t, s, Options{})
					if (kind == "overlay" || kind == "tmpfs" && before(t, 6, 3)) && (userns == "own") == (uid == 0) {
						// No way to write there as the owner: read-only, and said.
						if len(r.said(t)) != 1 || r.status.Code == 0 || exists(filepath.Join(dir, "x")) {
							t.Errorf("%+v", r)
						}
						return
					}
					if r.failure != nil || r.out != "there\n0:0\n0:0\n0:0\n" || len(r.said(t)) != 0 {
						t.Fatalf("%+v", r)
					}
					for _, n := range []string{"x", "d", "there"} {
						var st unix.Stat_t
						if err := unix.Lstat(filepath.Join(dir, n), &st); err != nil {
							t.Error(err)
						} else if int(st.Uid) != uid || int(st.Gid) != uid {
							t.Errorf("%s belongs to %d:%d", n, st.Uid, st.Gid)
						}
					}
				})
			}
		}
	}
}

func TestBindsOfSeveralKindsTogether(t *testing.T) {
	a, b, c := folder(t, "overlay", 1000), folder(t, "disk", 1001), folder(t, "overlay", 1002)
	s := shell(t, "touch /a/x && touch /b/x && ! touch /c/x 2>/dev/null && stat -c %u /bin /root /made 2>/dev/null; touch /made && stat -c %u /made")
	s.Binds = []Bind{{Src: a, Dst: "/a"}, {Src: b, Dst: "/b"}, {Src: c, Dst: "/c"}}
	s.Work = t.TempDir()
	r := try(t, s, Options{})
	if r.failure != nil || r.out != "0\n0\n0\n" || len(r.said(t)) != 1 || !strings.Contains(r.said(t)[0], c) {
		t.Errorf("%+v", r)
	}
	for dir, uid := range map[string]uint32{a: 1000, b: 1001} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(dir, "x"), &st); err != nil || st.Uid != uid {
			t.Errorf("%s: %d %v", dir, st.Uid, err)
		}
	}
}

func TestOtherOwnersInABindAreNobody(t *testing.T) {
	dir := folder(t, "disk", 1000)
	other := filepath.Join(dir, "other")
	if err := os.WriteFile(other, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(other, 1001, 1001); err != nil {
		t.Fatal(err)
	}
	s := shell(t, "stat -c %u other; cat other; chown 5 there; setpriv --reuid 5 --clear-groups touch mine; echo end")
	s.Binds, s.Workdir = []Bind{{Src: dir, Dst: "/work"}}, "/work"
	r := try(t, s, Options{})
	if r.out != "65534\nend\n" {
		t.Errorf("%+v", r)
	}
}

func TestBindOptions(t *testing.T) {
	dir := folder(t, "disk", 1000)
	if err := os.WriteFile(filepath.Join(dir, "suid"), nil, 0o4755); err != nil {
		t.Fatal(err)
	}
	s := shell(t, "cat /ro/there; touch /ro/x; cat /file; echo more >> /file; stat -c %u /same; while read a m t o r; do case $m in /ro|/file|/same) echo $m $o;; esac; done < /proc/self/mounts")
	s.Binds = []Bind{
		{Src: dir, Dst: "/ro", ReadOnly: true},
		{Src: filepath.Join(dir, "there"), Dst: "/file"},
		{Src: dir, Dst: "/same", Identity: true},
	}
	r := try(t, s, Options{})
	if r.failure != nil || !strings.HasPrefix(r.out, "there\nthere\n65534\n") {
		t.Errorf("%+v", r)
	}
	for _, l := range strings.Split(strings.TrimSpace(r.out), "\n")[3:] {
		if !strings.Contains(l, "nosuid,nodev") || strings.HasPrefix(l, "/ro") != strings.Contains(l, " ro,") {
			t.Errorf("mount: %s", l)
		}
	}
	if b, _ := os.ReadFile(filepath.Join(dir, "there")); string(b) != "there\nmore\n" {
		t.Errorf("file: %q", b)
	}
}

// TestBindTargets: targets are made, links in them are followed inside the root only.
func TestBindTargets(t *testing.T) {
	dir, outside := folder(t, "disk", 1000), t.TempDir()
	root := thinRoot(t)
	for name, target := range map[string]string{"abs": "/home", "rel": "../../home", "out": outside, "loop": "loop", "magic": "/proc/self/root"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		dst, look string
		fails     bool
	}{
		{"/new/deep/er", "/new/deep/er/there", false},
		{"/abs/x/y", "/home/x/y/there", false},
		{"/rel/z", "/home/z/there", false},
		{"/tmp/in/tmpfs", "/tmp/in/tmpfs/there", false},
		{"/tmp", "/tmp/there", false},
		{"/a/../b", "/b/there", false},
		{"/out/x", "", true},
		{"/loop/x", "", true},
		{"/magic/x", "", true},
		{"/proc/x", "", true},
		{"/etc/passwd", "", true},
	} {
		s := shell(t, "cat "+c.look)
		s.Lower, s.Binds = []string{root, s.Lower[0]}, []Bind{{Src: dir, Dst: c.dst}}
		r := try(t, s, Options{})
		if c.fails != (r.status.Code == 125) || !c.fails && r.out != "there\n" {
			t.Errorf("%s: %+v %v", c.dst, r, r.failure)
		}
	}
	if names, _ := os.ReadDir(outside); len(names) != 0 {
		t.Errorf("made outside: %v", names)
	}
	s := shell(t, "cat /new/f")
	s.Binds = []Bind{{Src: filepath.Join(dir, "there"), Dst: "/new/f"}}
	if got := must(t, s); got != "there\n" {
		t.Errorf("file: %q", got)
	}
	s.Binds = []Bind{{Src: filepath.Join(dir, "nothing"), Dst: "/x"}}
	if r := try(t, s, Options{}); r.status.Code != 125 || r.failure == nil {
		t.Errorf("missing source: %+v", r)
	}
}

// TestMountsBelowABind come along where their ids can be mapped; where not, that is said.
func TestMountsBelowABind(t *testing.T) {
	dir := folder(t, "disk", 1000)
	below := filepath.Join(dir, "below")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", below, "tmpfs", 0, "uid=1000,gid=1000"); err != nil {
		t.Skipf("needs mounts: %v", err)
	}
	defer unix.Unmount(below, unix.MNT_DETACH)
	if err := os.WriteFile(filepath.Join(below, "f"), []byte("deep\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := shell(t, "cat /x/below/f /x/there; touch /x/below/new /x/new; touch /x/ro 2>/dev/null; ls /x")
	s.Binds = []Bind{{Src: dir, Dst: "/x"}}
	r := try(t, s, Options{})
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(below, "new"), &st); err != nil || st.Uid != 1000 || !strings.HasPrefix(r.out, "deep\nthere\n") || len(r.said(t)) != 0 {
		t.Errorf("%+v, %d %v", r, st.Uid, err)
	}
	other := folder(t, "overlay", 1000)
	if err := unix.Mount(other, below, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(below, unix.MNT_DETACH)
	s = shell(t, "touch /x/new2 && ls /x/below")
	s.Binds = []Bind{{Src: dir, Dst: "/x"}}
	if r := try(t, s, Options{}); r.out != "" || len(r.said(t)) != 1 || r.status.Code != 0 {
		t.Errorf("%+v", r)
	}
	s.Binds[0].ReadOnly, s.Binds[0].Identity = true, true
	s.Argv[2] = "cat /x/below/there; touch /x/no 2>/dev/null || touch /x/below/no 2>/dev/null || echo ro"
	if r := try(t, s, Options{}); !strings.HasSuffix(r.out, "ro\n") {
		t.Errorf("%+v", r)
	}
}

// TestBindsOverTheKernels: no more than a file system in memory does a bind hide /proc, /sys or all of /dev, or a part
// of the first two. A bare container has none of them, and gets them so.
func TestBindsOverTheKernels(t *testing.T) {
	for _, dst := range []string{"/proc", "/proc/self", "/sys", "/sys/fs/cgroup", "/dev", "/tmp/../proc", "//dev/"} {
		for _, bare := range []bool{false, true} {
			s := Spec{Dir: "/root", Argv: []string{"true"}, UserNS: "host", Bare: bare, Binds: []Bind{{Src: "/etc", Dst: dst}}}.withDefaults()
			err := s.validate()
			var bad *SpecError
			if refused := errors.As(err, &bad) && strings.Contains(bad.Problem, kernelsProblem); refused == bare {
				t.Errorf("%s, bare %v: %v", dst, bare, err)
			}
		}
	}
	for _, dst := range []string{"/dev/shm", "/process", "/devices"} {
		s := Spec{Dir: "/root", Argv: []string{"true"}, UserNS: "host", Binds: []Bind{{Src: "/etc", Dst: dst}}}.withDefaults()
		if err := s.validate(); err != nil {
			t.Errorf("%s: %v", dst, err)
		}
	}
}

// TestLongNames: a name that no file system takes is said to be one, with the limit.
func TestLongNames(t *testing.T) {
	s := shell(t, "true")
	s.Tmpfs = []string{"/" + strings.Repeat("a", 300)}
	var step *StepError
	if r := try(t, s, Options{}); !errors.As(r.failure, &step) || !strings.Contains(step.Hint(), "255") {
		t.Errorf("%+v", r)
	}
}
