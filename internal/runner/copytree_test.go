package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// oddRoot is a root with everything that a copy or a shift could lose.
func oddRoot(t *testing.T) string {
	root := copyRoot(t)
	odd := filepath.Join(root, "odd")
	caps := string([]byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})    // cap_net_raw=ep
	acl := string([]byte{2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0, // user::rw- user:7:r--
		4, 0, 4, 0, 255, 255, 255, 255, 16, 0, 4, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255})
	for _, err := range []error{
		os.Mkdir(odd, 0o755),
		os.WriteFile(odd+"/suid", []byte("x"), 0o600), os.Lchown(odd+"/suid", 5, 6), unix.Chmod(odd+"/suid", 0o6751),
		os.WriteFile(odd+"/caps", []byte("x"), 0o755), unix.Setxattr(odd+"/caps", "security.capability", []byte(caps), 0),
		os.WriteFile(odd+"/acl", []byte("x"), 0o644), unix.Setxattr(odd+"/acl", "system.posix_acl_access", []byte(acl), 0),
		os.Link(odd+"/suid", odd+"/twin"), os.Symlink("/nowhere", odd+"/link"), os.Lchown(odd+"/link", 9, 9),
		unix.Mkfifo(odd+"/fifo", 0o620), unix.Mknod(odd+"/node", unix.S_IFCHR|0o666, 0x103), os.Lchown(odd+"/node", 3, 4),
		os.WriteFile(odd+"/far", nil, 0o644), os.Lchown(odd+"/far", 70000, 70000),
		unix.UtimesNanoAt(unix.AT_FDCWD, odd+"/link", []unix.Timespec{{Sec: 5, Nsec: 6}, {Sec: 7, Nsec: 8}}, unix.AT_SYMLINK_NOFOLLOW),
		unix.UtimesNanoAt(unix.AT_FDCWD, odd, []unix.Timespec{{Sec: 5, Nsec: 6}, {Sec: 7, Nsec: 8}}, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// ownText describes a tree without times of change, and with what attributes say.
func ownText(t *testing.T, root string) string {
	var b strings.Builder
	for line := range strings.Lines(treeText(t, root)) {
		b.WriteString(strings.TrimSuffix(line[:strings.LastIndex(strings.TrimSpace(line), " ")], root) + "\n")
	}
	for _, x := range [][2]string{{"caps", "security.capability"}, {"acl", "system.posix_acl_access"}} {
		v := make([]byte, 200)
		n, err := unix.Lgetxattr(filepath.Join(root, "odd", x[0]), x[1], v)
		fmt.Fprintf(&b, "%x %v\n", v[:max(n, 0)], err)
	}
	return b.String()
}

// TestPlainCopy: where overlay cannot be mounted, a run gets a copy that looks the same inside, on disk or in memory, and
// the cache is not written to, neither through a file's second name.
func TestPlainCopy(t *testing.T) {
	needRoot(t)
	look := "cd /odd; for f in suid twin caps acl link fifo; do stat -c '%n %a %u:%g %h %Y %F' $f; done; stat -c '%a %Y' .; stat -c %a /; readlink link; id -u; test ! -e node || echo node"
	for _, userns := range []string{"own", "host"} {
		for _, disk := range []bool{true, false} {
			root := oddRoot(t)
			before := treeText(t, root)
			s := shell(t, look)
			s.Lower, s.UserNS = []string{root}, userns
			want := strings.ReplaceAll(must(t, s), "node\n", "") // a copy has no device nodes
			s.Argv[len(s.Argv)-1] = look + "; echo changed >> suid; echo x > /etc/passwd; rm -rf /var /home; touch /new"
			if disk {
				s.Work = t.TempDir()
			}
			r := try(t, s, Options{plainCopy: true})
			if r.failure != nil || r.status.Code != 0 || r.out != want || len(r.notes) != 1 {
				t.Errorf("userns %s, disk %v: %+v\nwant %s", userns, disk, r, want)
			}
			if treeText(t, root) != before {
				t.Errorf("userns %s, disk %v: the lower directory has changed", userns, disk)
			}
			if disk {
				var st unix.Stat_t
				if err := unix.Stat(s.Work+"/u/odd/caps", &st); err != nil || (userns == "own") != (st.Uid >= firstID) {
					t.Errorf("userns %s: owner %d, %v", userns, st.Uid, err)
				}
			}
		}
	}
}

// TestPlainCopyIsRemoved: it goes as any copy does.
func TestPlainCopyIsRemoved(t *testing.T) {
	needRoot(t)
	s := shell(t, "touch /new")
	s.Work = t.TempDir()
	r := try(t, s, Options{plainCopy: true, Keep: &Keep{Remove: []string{s.Work}}})
	if r.failure != nil || exists(s.Work) {
		t.Errorf("%+v", r)
	}
}

// TestShiftTree: there and back again nothing is lost, and a container whose directory is shifted has no host ids.
func TestShiftTree(t *testing.T) {
	needRoot(t)
	root := oddRoot(t)
	if err := os.Remove(root + "/odd/far"); err != nil { // no id of a container
		t.Fatal(err)
	}
	before := ownText(t, root)
	ids, lock, err := ClaimIDs(filepath.Join(t.TempDir(), "ids"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for range 2 { // a second time changes nothing
		if err := ShiftTree(root, ids, false); err != nil {
			t.Fatal(err)
		}
	}
	s := shell(t, "cd /odd; stat -c '%u:%g %a' suid twin node link; cat /proc/self/uid_map; touch /made; chown 8 /made")
	s.Lower, s.Dir, s.IDs, s.Shifted = nil, root, ids, true
	got := must(t, s)
	if want := "5:6 6751\n5:6 6751\n3:4 644\n9:9 777\n"; !strings.HasPrefix(got, want) || strings.Contains(got, "         0          0") {
		t.Errorf("inside: %s", got)
	}
	if err := ShiftTree(root, ids, true); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(root+"/made", &st); err != nil || st.Uid != 8 || st.Gid != 0 {
		t.Errorf("made by %d:%d, %v", st.Uid, st.Gid, err)
	}
	if err := os.Remove(filepath.Join(root, "made")); err != nil {
		t.Fatal(err)
	}
	after := ownText(t, root)
	for i, line := range strings.Split(before, "\n") {
		if now := strings.Split(after, "\n"); i > 0 && (i >= len(now) || now[i] != line) {
			t.Fatalf("line %d was %q, now %q", i, line, now[min(i, len(now)-1)])
		}
	}
}
