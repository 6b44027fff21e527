package upper_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
	"github.com/rootctl/rootctl/internal/cache/upper"
	"github.com/rootctl/rootctl/internal/runner"
)

func TestMain(m *testing.M) {
	if runner.Main(os.Args) {
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "change-everything" {
		if err := change(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// change does in a container all that a copy can have; what a user namespace forbids is left out.
func change() error {
	cap2 := make([]byte, 20)
	binary.LittleEndian.PutUint32(cap2, 2<<24|1)
	binary.LittleEndian.PutUint32(cap2[4:], 1<<10)
	acl := []byte{2, 0, 0, 0}
	for _, e := range [][3]uint32{{1, 6, ^uint32(0)}, {2, 4, 1000}, {4, 4, ^uint32(0)}, {8, 6, 33}, {16, 6, ^uint32(0)}, {32, 4, ^uint32(0)}} {
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[0]))
		acl = binary.LittleEndian.AppendUint16(acl, uint16(e[1]))
		acl = binary.LittleEndian.AppendUint32(acl, e[2])
	}
	unix.Umask(0)
	for _, step := range []struct {
		what string
		err  func() error
	}{
		{"edit", func() error { return os.WriteFile("/d/edited", []byte("new words"), 0o600) }},
		{"chmod", func() error { return os.Chmod("/d/mode", 0o4711) }},
		{"chown", func() error { return os.Lchown("/d/owner", 1000, 33) }},
		{"chown link", func() error { return os.Lchown("/d/link", 7, 8) }},
		{"remove", func() error { return os.Remove("/d/removed") }},
		{"remove tree", func() error { return os.RemoveAll("/d/tree") }},
		{"make anew", func() error { return os.RemoveAll("/d/opaque") }},
		{"folder anew", func() error { return os.Mkdir("/d/opaque", 0o1777) }},
		{"in it", func() error { return os.WriteFile("/d/opaque/kept", []byte("other"), 0o644) }},
		{"file for folder", func() error { return os.RemoveAll("/d/was-folder") }},
		{"file", func() error { return os.WriteFile("/d/was-folder", nil, 0o644) }},
		{"folder for file", func() error { return os.Remove("/d/was-file") }},
		{"folder", func() error { return os.MkdirAll("/d/was-file/sub", 0o2755) }},
		{"file in it", func() error { return os.WriteFile("/d/was-file/sub/x", []byte("x"), 0o444) }},
		{"link to old", func() error { return os.Link("/d/hard1", "/d/hard3") }},
		{"new links", func() error { return os.WriteFile("/d/n1", []byte("many names"), 0o640) }},
		{"second", func() error { return os.Link("/d/n1", "/e/n2") }},
		{"symlink", func() error { return os.Symlink("/nowhere", "/e/sym") }},
		{"fifo", func() error { return unix.Mkfifo("/e/fifo", 0o622) }},
		{"marked", func() error { return os.WriteFile("/e/.wh.odd", []byte("no mark"), 0o644) }},
		{"marked2", func() error { return os.WriteFile("/e/.wh..wh..opq", nil, 0o644) }},
		{"odd name", func() error { return os.WriteFile("/e/\xff\n=%", []byte("odd"), 0o644) }},
		{"user attr", func() error { return unix.Setxattr("/d/edited", "user.a=b%", []byte("v\x00w"), 0) }},
		{"attr of folder", func() error { return unix.Setxattr("/d/attr", "user.new", []byte("1"), 0) }},
		{"capability", func() error { return unix.Setxattr("/d/edited", "security.capability", cap2, 0) }},
		{"acl", func() error { return unix.Setxattr("/d/n1", "system.posix_acl_access", acl, 0) }},
		{"made and gone", func() error { return os.WriteFile("/e/gone", nil, 0o644) }},
		{"gone", func() error { return os.Remove("/e/gone") }},
		{"top", func() error { return os.WriteFile("/new", []byte("top"), 0o644) }},
		{"holes", func() error { return os.Truncate("/new", 1<<20) }},
		{"old time", func() error { return os.Chtimes("/new", unixTime(1e9), unixTime(1e9)) }},
	} {
		if err := step.err(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	if os.Getenv("DEVICES") != "" {
		return unix.Mknod("/e/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3)))
	}
	return nil
}

// world is a root as a cache has it.
type world struct {
	tree     string
	manifest *snapshot.Manifest
}

// put makes a root of a tar.
func put(t *testing.T, tar []byte) world {
	t.Helper()
	return made(t, func(u *intake.Unpacker) error {
		return u.Layer(context.Background(), bytes.NewReader(tar), false, false)
	})
}

func made(t *testing.T, fill func(*intake.Unpacker) error) world {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	must(t, os.Mkdir(dir, 0o755))
	u, err := intake.New(context.Background(), dir, intake.Options{})
	must(t, err)
	defer u.Close()
	must(t, fill(u))
	m, err := u.Finish(context.Background(), dir)
	must(t, err)
	return world{dir, m}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// parent is a root with tar in it and something of every kind in /d.
func parent(t *testing.T) world {
	t.Helper()
	src := t.TempDir()
	self, err := os.Executable()
	must(t, err)
	script := fmt.Sprintf(`set -e; cd %s; umask 022
		mkdir bin etc d d/tree d/tree/deep d/opaque d/opaque/was d/was-folder d/was-folder/in d/attr e
		for p in tar sh; do f=$(command -v $p); cp $f bin/; ldd $f; done > libs; ldd %s >> libs || :
		for l in $(cat libs); do case $l in /*) mkdir -p .${l%%/*}; cp -n $l .$l;; esac; done; rm libs
		for f in edited mode owner removed tree/deep/x opaque/kept opaque/lost opaque/was/x was-folder/in/y was-file untouched; do echo $f > d/$f; done
		echo linked > d/hard1; ln d/hard1 d/hard2; ln -s edited d/link; chown 33:33 d/untouched; ln d/hard1 e/hard4
		find . -exec touch -h -d @1500000000 {} +`, src, self)
	if out, err := exec.Command("bash", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.Command("tar", "-C", src, "--numeric-owner", "-c", ".").Output()
	must(t, err)
	return put(t, out)
}

// ran runs a command in a copy of w that is kept, and returns where its changes are to be read.
func ran(t *testing.T, w world, s runner.Spec) (*upper.Copy, []byte) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	s.Lower, s.Work, s.Env = []string{w.tree}, t.TempDir(), append(s.Env, "PATH=/bin")
	s.Binds = []runner.Bind{{Src: self, Dst: "/on/the/way/helper", ReadOnly: true}}
	c := &upper.Copy{Dir: filepath.Join(s.Work, "u"), Parent: w.manifest, Mounts: []string{"/proc", "/sys", "/dev", "/tmp", "/run", "/on/the/way/helper"}, Files: map[string][]byte{}}
	if s.UserNS != "host" {
		ids, lock, err := runner.ClaimIDs(t.TempDir())
		must(t, err)
		defer lock.Close()
		s.IDs, c.Base, c.Size = ids, ids.Base, ids.Size
	}
	for _, f := range s.EtcFiles() {
		c.Files[f.Path] = f.Data
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	must(t, err)
	defer out.Close()
	status, err := runner.Run(context.Background(), s, runner.Options{Stdout: out, Stderr: os.Stderr})
	if err != nil || status.Code != 0 {
		t.Fatalf("code %d: %v", status.Code, err)
	}
	b, err := os.ReadFile(out.Name())
	must(t, err)
	return c, b
}

func read(t *testing.T, c *upper.Copy) *upper.Changes {
	t.Helper()
	list, err := upper.Read(context.Background(), c)
	must(t, err)
	return list
}

func needsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made with namespaces and mounts")
	}
}

// seen is a tar of all that a container sees of its copy.
const seen = "exec tar --numeric-owner --xattrs '--xattrs-include=*' --exclude=./proc --exclude=./sys --exclude=./dev --exclude=./tmp --exclude=./run" +
	" --exclude=./on --exclude=./etc/hostname --exclude=./etc/hosts --exclude=./etc/resolv.conf -C / -c ."

// TestCommitIsWhatTarSaw merges a copy in which everything was changed, and compares with an import of what tar inside
// the container has read.
func TestCommitIsWhatTarSaw(t *testing.T) {
	needsRoot(t)
	for _, users := range []string{"own", "host"} {
		t.Run(users, func(t *testing.T) {
			w := parent(t)
			before, _, _, err := snapshot.Scan(context.Background(), w.tree, snapshot.ScanOptions{Epoch: 1 << 40})
			must(t, err)
			s := runner.Spec{UserNS: users, Argv: []string{"sh", "-c", "/on/the/way/helper change-everything && " + seen}}
			if users == "host" {
				s.Env = []string{"DEVICES=1"}
			}
			c, tar := ran(t, w, s)
			changes := read(t, c)
			got := made(t, func(u *intake.Unpacker) error { return changes.Merge(context.Background(), u, w.tree) })
			want := put(t, tar)
			// The runner's own names in / and /etc cost those their times.
			for _, m := range []*snapshot.Manifest{got.manifest, want.manifest} {
				m.Digest, m.TarSize = "", 0
				for i := range m.Entries {
					e := &m.Entries[i]
					if e.Path == "etc" {
						e.MTime = 0
					}
				}
			}
			if diff := cmp.Diff(want.manifest, got.manifest); diff != "" {
				t.Errorf("tar inside saw -, committed was +:\n%s", diff)
			}
			after, _, _, err := snapshot.Scan(context.Background(), w.tree, snapshot.ScanOptions{Epoch: 1 << 40})
			must(t, err)
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("the root was changed: %s", diff)
			}
			wantList(t, changes, users == "host")
			if e := entryOf(got.manifest, "d/edited"); len(e.Xattrs["security.capability"]) != 20 || e.Xattrs["user.a=b%"] != "v\x00w" {
				t.Errorf("attributes of /d/edited: %q", e.Xattrs)
			}
			if e := entryOf(got.manifest, "d/n1"); binary.LittleEndian.Uint32([]byte(e.Xattrs["system.posix_acl_access"])[16:]) != 1000 {
				t.Errorf("access list of /d/n1: %q", e.Xattrs)
			}
		})
	}
}

func entryOf(m *snapshot.Manifest, path string) snapshot.Entry {
	for _, e := range m.Entries {
		if e.Path == path {
			return e
		}
	}
	return snapshot.Entry{}
}

func wantList(t *testing.T, c *upper.Changes, devices bool) {
	t.Helper()
	var b strings.Builder
	for _, x := range c.List() {
		fmt.Fprintf(&b, "%c %q\n", x.Kind, x.Path)
	}
	want := `C "/d"
C "/d/attr"
C "/d/edited"
C "/d/hard1"
A "/d/hard3"
C "/d/link"
C "/d/mode"
A "/d/n1"
C "/d/opaque"
C "/d/opaque/kept"
D "/d/opaque/lost"
D "/d/opaque/was"
C "/d/owner"
D "/d/removed"
D "/d/tree"
C "/d/was-file"
A "/d/was-file/sub"
A "/d/was-file/sub/x"
C "/d/was-folder"
C "/e"
A "/e/.wh..wh..opq"
A "/e/.wh.odd"
A "/e/fifo"
A "/e/n2"
A "/e/null"
A "/e/sym"
A "/e/\xff\n=%"
A "/new"
`
	if !devices {
		want = strings.Replace(want, "A \"/e/null\"\n", "", 1)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("changes:\n%s", diff)
	}
}

// TestCommitOfNothing sees that a copy in which nothing was changed is its root, by digest.
func TestCommitOfNothing(t *testing.T) {
	needsRoot(t)
	for _, users := range []string{"own", "host"} {
		w := parent(t)
		c, _ := ran(t, w, runner.Spec{UserNS: users, Argv: []string{"sh", "-c", "read x < /d/edited; : >> /tmp/x"}})
		changes := read(t, c)
		if list := changes.List(); len(list) > 0 || !changes.None() {
			t.Errorf("%s: changes in a copy that nothing was changed in: %v", users, list)
		}
		got := made(t, func(u *intake.Unpacker) error { return changes.Merge(context.Background(), u, w.tree) })
		if got.manifest.Digest != w.manifest.Digest {
			t.Errorf("%s: digest %s, the root's is %s", users, got.manifest.Digest, w.manifest.Digest)
		}
	}
}

// TestOwnFilesOnceChanged sees that the files that the runner writes count when the container has changed them.
func TestOwnFilesOnceChanged(t *testing.T) {
	needsRoot(t)
	w := parent(t)
	c, _ := ran(t, w, runner.Spec{Argv: []string{"sh", "-c", "echo 192.0.2.9 other >> /etc/hosts"}})
	want := []upper.Change{{Kind: 'C', Path: "/etc"}, {Kind: 'A', Path: "/etc/hosts"}}
	if diff := cmp.Diff(want, read(t, c).List()); diff != "" {
		t.Error(diff)
	}
}
