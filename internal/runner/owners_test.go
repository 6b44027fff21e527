package runner

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// book is an Owners by inode number, which serves as long as nothing is removed.
type book struct {
	mu sync.Mutex
	of map[uint64][2]uint32

	attrs []string
}

func (b *book) ino(fd int, name string) uint64 {
	var st unix.Stat_t
	if unix.Fstatat(fd, name, &st, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != nil {
		return 0
	}
	return st.Ino
}

func (b *book) Set(fd int, name string, uid, gid uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of[b.ino(fd, name)] = [2]uint32{uid, gid}
	return nil
}

func (b *book) SetXattr(fd int, name, attr string, value []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attrs = append(b.attrs, fmt.Sprintf("%d %s %x", b.ino(fd, name), attr, value))
	return nil
}

func (b *book) Of(fd int, name string) (uid, gid uint32, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.of[b.ino(fd, name)]
	return o[0], o[1], ok
}

// TestRecordedOwners has a container with a single id do what maintainer scripts do with owners. What it is told must be
// what it would be told with all ids, and nothing of it may be on the disk.
func TestRecordedOwners(t *testing.T) {
	if len(idTables()) == 0 || idTables()[0].chown == nil {
		t.Skip("needs amd64 or arm64: no filter for " + runtime.GOARCH)
	}
	root := copyRoot(t)
	b := &book{of: map[uint64][2]uint32{}}
	script := `set -e
mkdir -p /w/d; cd /w; own() { stat -c '%u:%g %a' "$@"; }
touch f; chown 5:42 f; own f
chown 7 f; own f; chown :8 f; own f
cp -p f g; own g
mv f h; own h
ln h i; own i
chmod 6755 h; chown 1:1 h; own h
ln -s nowhere l; chown -h 3:4 l; own l
ln -s h m; chown 9:9 m; own h
chown -R 11:12 d; own d; own d/../d
cd d; touch x; chown 13:14 x; own ./x ../d/x /w/d/x
exec 7<x; own /proc/self/fd/7 -L
chown 0:0 x; own x
chown 1:1 /nowhere 2>/dev/null || echo no such file
head -c 0 x; id -u`
	script = strings.Replace(script, "own /proc/self/fd/7 -L", "own -L /proc/self/fd/7", 1)
	s := Spec{Dir: root, Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Nested: true, IDs: IDRange{Size: 1}, RecordOwners: true}
	r := try(t, s, Options{Owners: b})
	want := `5:42 644
7:42 644
7:8 644
7:8 644
7:8 644
7:8 644
1:1 755
3:4 777
9:9 755
11:12 755
11:12 755
13:14 644
13:14 644
13:14 644
13:14 644
0:0 644
no such file
0
`
	if r.failure != nil || r.out != want {
		t.Errorf("%v %+v\n%s\n%s", r.failure, r.status, r.out, r.err)
	}
	for _, name := range []string{"w/g", "w/h", "w/l", "w/d", "w/d/x"} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, name), &st); err != nil || st.Uid != 0 || st.Gid != 0 {
			t.Errorf("%s on disk: %d:%d, %v", name, st.Uid, st.Gid, err)
		}
	}
}

// TestFakedIDs: in a run nothing is kept, but everything succeeds.
func TestFakedIDs(t *testing.T) {
	s := shell(t, `set -e; touch /x; chown 5:5 /x; stat -c %u:%g /x; setpriv --reuid 5 --clear-groups true; mknod /n c 1 3; mknod /p p; test -p /p; test ! -e /n; echo good`)
	s.Nested, s.IDs = true, IDRange{Size: 1}
	s.Files = []File{{Path: "/etc/deep/er/file", Data: []byte("told\n")}}
	r := try(t, s, Options{})
	if r.failure != nil || r.out != "0:0\ngood\n" {
		t.Errorf("%v %+v %s %s", r.failure, r.status, r.out, r.err)
	}
	s.Argv = []string{"cat", "/etc/deep/er/file"}
	if got := must(t, s); got != "told\n" {
		t.Errorf("file of the copy: %q", got)
	}
}

// TestClerkWithManyProcesses: answers go to the one who asked, also to those that are killed while they wait.
func TestClerkWithManyProcesses(t *testing.T) {
	root := copyRoot(t)
	script := `cd /tmp; one() { touch $1; n=0; while [ $n -lt 20 ]; do chown $1:$n $1; [ "$(stat -c %u:%g $1)" = "$1:$n" ] || echo wrong; n=$((n+1)); done; }
for i in 1 2 3 4 5 6; do one $i & done
(while :; do stat /tmp >/dev/null; done) & p=$!; sleep 0.2; kill -9 $p; wait; echo done`
	s := Spec{Dir: root, Argv: []string{"sh", "-c", script}, Env: []string{"PATH=/bin"}, Nested: true, IDs: IDRange{Size: 1}, RecordOwners: true}
	if r := try(t, s, Options{Owners: &book{of: map[uint64][2]uint32{}}}); r.failure != nil || r.out != "done\n" {
		t.Errorf("%v %+v %s %s", r.failure, r.status, r.out, r.err)
	}
}

// TestIDProgram runs the filter on every number of every table it knows.
func TestIDProgram(t *testing.T) {
	for _, ask := range []bool{false, true} {
		prog := idProgram(idTables(), ask)
		for _, tab := range idTables() {
			want := map[uint32]uint32{}
			for _, n := range tab.fake {
				want[n] = unix.SECCOMP_RET_ERRNO
			}
			for _, n := range tab.chown {
				want[n] = unix.SECCOMP_RET_ERRNO
				if ask {
					want[n] = unix.SECCOMP_RET_USER_NOTIF
				}
			}
			for _, n := range tab.others {
				if ask {
					want[n] = unix.SECCOMP_RET_USER_NOTIF
				}
			}
			for nr := range uint32(600) {
				if nr == tab.mknod[0] || nr == tab.mknod[1] {
					continue // depends on an argument: TestFakedIDs
				}
				w, ok := want[nr]
				if !ok {
					w = unix.SECCOMP_RET_ALLOW
				}
				if got := runBPF(t, prog, nr, tab.arch); got != w {
					t.Errorf("ask %v, table %#x, number %d: %#x, want %#x", ask, tab.arch, nr, got, w)
				}
			}
		}
		if got := runBPF(t, prog, 92, 0x1234); got != unix.SECCOMP_RET_ALLOW {
			t.Errorf("unknown architecture: %#x", got)
		}
	}
}

func TestFindUserMap(t *testing.T) {
	bin := t.TempDir()
	for _, n := range []string{"newuidmap", "newgidmap"} {
		if err := os.WriteFile(filepath.Join(bin, n), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		summary, subuid, subgid string
		size                    uint32
		why                     string
	}{
		{"by name", "other:1:9\nann:100000:65536\n", "ann:200000:65536\n", 65537, ""},
		{"by number", "1234:100000:65536\n", "ann:200000:65536\n", 65537, ""},
		{"two ranges", "ann:100000:40000\nann:300000:40000\n", "ann:100000:65536\n", 65537, ""},
		{"just enough", "ann:100000:65535\n", "ann:100000:65535\n", 65536, ""},
		{"more than can be used", "ann:100000:1000000\n", "ann:100000:1000000\n", 65537, ""},
		{"none", "other:100000:65536\n", "ann:100000:65536\n", 1, "no range"},
		{"no file", "", "", 1, "no range"},
		{"another's with a like name", "anna:100000:65536\n:1:65536\n", "ann:100000:65536\n", 1, "no range"},
		{"too few", "ann:100000:1000\n", "ann:100000:65536\n", 1, "fewer than 65535"},
		{"nonsense", "ann:0:65536\nann:x:y\nann:4294967290:65536\n", "ann:100000:65536\n", 1, "no range"},
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"subuid": c.subuid, "subgid": c.subgid} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		m, err := FindUserMap(dir, "ann", 1234, 1234, []string{bin})
		if err != nil {
			t.Errorf("%s: %v", c.summary, err)
			continue
		}
		if m.Size() != c.size || m.Single() != (c.size == 1) || !strings.Contains(m.Why, c.why) || (c.why != "") != (m.Fix != "") {
			t.Errorf("%s: size %d, why %q, fix %q", c.summary, m.Size(), m.Why, m.Fix)
		}
	}
}

// The range that the hint names is one that nobody has, in either file.
func TestFreeRange(t *testing.T) {
	for _, c := range []struct{ summary, subuid, subgid, want string }{
		{"empty", "", "", "100000-165535"},
		{"another's", "bob:100000:65536\n", "", "165536-231071"},
		{"in one file each", "bob:100000:65536\n", "eve:165536:65536\n", "231072-296607"},
		{"one's own that is too small", "ann:100000:1000\n", "ann:100000:1000\n", "101000-166535"},
		{"a gap that is too small, unsorted", "bob:200000:65536\neve:100000:65536\n", "", "265536-331071"},
		{"a gap that is enough", "eve:100000:100000\nbob:265536:9\n", "", "200000-265535"},
	} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"subuid": c.subuid, "subgid": c.subgid} {
			if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		m, err := FindUserMap(dir, "ann", 1234, 1234, nil)
		if err != nil || m.Fix != "sudo usermod --add-subuids "+c.want+" --add-subgids "+c.want+" ann" {
			t.Errorf("%s: want %s: %v, %v", c.summary, c.want, m.Fix, err)
		}
	}
}

func TestNamespaceHints(t *testing.T) {
	for _, c := range [][3]string{
		{"0", "", "kernel.unprivileged_userns_clone=1"},
		{"1", "1", "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"", "", "docker run"},
	} {
		if got := namespaceHint(c[0], c[1]); !strings.Contains(got, c[2]) || c[0]+c[1] != "" && !strings.Contains(got, "sudo") {
			t.Errorf("%q: %s", c, got)
		}
	}
	e, _ := enterError("clone", unix.ENOSPC).(*EnterError)
	if e == nil || !strings.Contains(e.Hint(), "user.max_user_namespaces") {
		t.Errorf("%v", e)
	}
}

func TestACLMode(t *testing.T) {
	entry := func(tag, perm, id string) string { return tag + "00" + perm + "00" + id }
	const none = "ffffffff"
	head := "02000000"
	for _, c := range []struct {
		summary, hex string
		mode         uint32
		ids, ok      bool
	}{
		{"plain", head + entry("01", "07", none) + entry("04", "05", none) + entry("20", "04", none), 0o754, false, true},
		{"group adm", head + entry("01", "07", none) + entry("04", "05", none) + entry("08", "04", "04000000") + entry("10", "05", none) + entry("20", "05", none), 0o755, true, true},
		{"mask narrower", head + entry("01", "07", none) + entry("02", "07", "07000000") + entry("04", "07", none) + entry("10", "04", none) + entry("20", "00", none), 0o740, true, true},
		{"root's id", head + entry("01", "06", none) + entry("02", "07", "00000000") + entry("04", "04", none) + entry("10", "07", none) + entry("20", "04", none), 0o674, false, true},
		{"version 1", "01000000", 0, false, false},
		{"cut", head + "0100", 0, false, false},
		{"unknown tag", head + entry("40", "07", none), 0, false, false},
	} {
		b, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		mode, ids, ok := aclMode(b)
		if ok != c.ok || ok && (mode != c.mode || ids != c.ids) {
			t.Errorf("%s: %o %v %v", c.summary, mode, ids, ok)
		}
	}
}

// TestI386Stat looks at struct stat64 as the kernel's headers have it.
func TestI386Stat(t *testing.T) {
	st := &unix.Stat_t{Dev: 1, Ino: 1<<33 + 2, Mode: 0o100644, Nlink: 3, Size: 1 << 40, Blocks: 9}
	st.Blksize, st.Mtim.Sec, st.Mtim.Nsec = 4096, 77, 88
	b := i386StatOf(st, 5, 42)
	if len(b) != 96 {
		t.Fatalf("%d bytes", len(b))
	}
	for at, want := range map[int]uint32{16: 0o100644, 20: 3, 24: 5, 28: 42, 44: 0, 48: 256, 52: 4096, 56: 9, 72: 77, 76: 88, 88: 2, 92: 2} {
		if got := binary.LittleEndian.Uint32(b[at:]); got != want {
			t.Errorf("offset %d: %d, want %d", at, got, want)
		}
	}
}
