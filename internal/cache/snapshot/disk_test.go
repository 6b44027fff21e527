package snapshot

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// One tree has one digest, whatever the number of workers, and one copied to another filesystem, under
// another umask, has the same.
func TestSameEverywhere(t *testing.T) {
	tree := oddTree(t)
	m, text := scanned(t, tree, devices)
	for _, workers := range []int{1, 2, 16} {
		_, d, n, err := Scan(context.Background(), tree, ScanOptions{Epoch: epoch, Extra: devices, Workers: workers})
		must(t, err)
		if d != m.Digest || n != m.TarSize {
			t.Errorf("%d workers: %s", workers, d)
		}
	}
	t.Run("tmpfs", func(t *testing.T) {
		shm, err := os.MkdirTemp("/dev/shm", "rootctl-test-")
		if err != nil {
			t.Skip("needs tmpfs: ", err)
		}
		defer os.RemoveAll(shm)
		if unix.Setxattr(shm, "user.x", nil, 0) != nil {
			t.Skip("needs tmpfs with user xattrs: Linux 6.6")
		}
		if out, err := exec.Command("sh", "-c", `umask 077; cp -a "$0" "$1"`, tree, shm+"/copy").CombinedOutput(); err != nil {
			t.Fatalf("cp: %v %s", err, out)
		}
		_, copied := scanned(t, shm+"/copy", devices)
		if !bytes.Equal(text, copied) {
			t.Error("the tar differs")
		}
	})
}

// A socket, devices on disk, and times after the epoch: Settle makes the disk say what the manifest does.
func TestSettle(t *testing.T) {
	tree := oddTree(t)
	l, err := net.Listen("unix", filepath.Join(tree, "a", "sock"))
	must(t, err)
	defer l.Close()
	must(t, unix.Mknod(filepath.Join(tree, "etc", "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Mknod(filepath.Join(tree, "zero"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
	m, text := scanned(t, tree, devices)
	zero := 0
	for _, e := range m.Entries {
		if e.Path == "zero" && e.Type == TypeChar && e.Major == 1 && e.Minor == 5 {
			zero++
		}
		if e.Path == "a/sock" {
			t.Error("the socket is in the manifest")
		}
	}
	if zero != 1 {
		t.Error("the device on disk is not in the manifest")
	}
	must(t, m.Settle(tree))
	must(t, m.Settle(tree)) // again does nothing
	filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		must(t, err)
		st, err := d.Info()
		must(t, err)
		if st.Mode()&(os.ModeDevice|os.ModeSocket) != 0 || st.ModTime().Nanosecond() != 0 || st.ModTime().Unix() > epoch {
			t.Errorf("%s: %v %v", path, st.Mode(), st.ModTime())
		}
		return nil
	})
	var out bytes.Buffer
	must(t, m.WriteTar(context.Background(), &out, tree))
	if !bytes.Equal(out.Bytes(), text) {
		t.Error("the tar of the settled tree differs")
	}
	if diffs, err := m.Verify(context.Background(), tree); err != nil || len(diffs) > 0 {
		t.Errorf("Verify: %v %q", err, diffs)
	}
	for _, change := range []func(){
		func() { must(t, os.WriteFile(filepath.Join(tree, "new"), nil, 0o600)) },
		func() { must(t, os.Remove(filepath.Join(tree, "new"))); must(t, os.Remove(filepath.Join(tree, "zz"))) },
	} {
		change()
		if err := m.Settle(tree); err == nil {
			t.Error("a tree changed after Scan was settled")
		}
	}
}

func TestVerifyFinds(t *testing.T) {
	tree := oddTree(t)
	m, _, _, err := Scan(context.Background(), tree, ScanOptions{Epoch: epoch, Extra: devices})
	must(t, err)
	must(t, m.Settle(tree))
	at := func(name string) string { return filepath.Join(tree, name) }
	old := time.Unix(epoch, 0)
	keep := func(name string) { must(t, os.Chtimes(at(name), old, old)) }
	must(t, os.WriteFile(at("a.b"), []byte("sorts after ALL that is in a\n"), 0))
	keep("a.b")
	must(t, os.WriteFile(at("a-b"), []byte("more"), 0))
	must(t, os.Remove(at("dangling")))
	must(t, os.Symlink("/elsewhere", at("dangling")))
	must(t, os.Remove(at("fifo")))
	must(t, os.Mkdir(at("fifo"), 0o755))
	must(t, os.Chmod(at("su"), 0o755))
	must(t, os.Remove(at("sparse")))
	must(t, os.WriteFile(at("new file"), nil, 0o600))
	must(t, unix.Removexattr(at("ping"), "security.capability"))
	must(t, os.Chown(at("tmp"), 5, 5))
	must(t, os.Chtimes(at("etc"), old, old.Add(-time.Hour)))
	keep(".")
	got, err := m.Verify(context.Background(), tree)
	must(t, err)
	want := []string{
		"mode 0755, not 4755: a/su-too", "size 4, not 0: a-b", "content a.b", "link to \"/elsewhere\": dangling",
		"time 1599996400, not 1600000000: etc", "type d, not p: fifo", `unexpected new\040file`, "attributes ping",
		"missing sparse", "mode 0755, not 4755: su", "owner 5:5, not 0:0: tmp", "mode 0755, not 4755: zz",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := m.WriteTar(context.Background(), io.Discard, tree); err == nil {
		t.Error("a damaged tree was written out")
	}
}

// A tree that changes into a trap between Scan and WriteTar leads nowhere.
func TestWriteTarFollowsNothing(t *testing.T) {
	tree := t.TempDir()
	must(t, os.MkdirAll(tree+"/etc", 0o755))
	must(t, os.WriteFile(tree+"/etc/passwd", []byte("root::0:0\n"), 0o644))
	m, _ := scanned(t, tree, nil)
	for _, trap := range []string{"/etc/passwd", "/etc"} {
		must(t, os.Rename(tree+trap, tree+trap+"-"))
		must(t, os.Symlink(tree+trap+"-", tree+trap))
		if err := m.WriteTar(context.Background(), io.Discard, tree); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v", trap, err)
		}
		must(t, os.Remove(tree+trap))
		must(t, os.Rename(tree+trap+"-", tree+trap))
	}
}

func TestScanRefuses(t *testing.T) {
	tree := t.TempDir()
	scan := func(ctx context.Context, extra ...Entry) error {
		_, _, _, err := Scan(ctx, tree, ScanOptions{Extra: extra})
		return err
	}
	null := Entry{Path: "dev/null", Type: TypeChar, Mode: 0o666, Major: 1, Minor: 3}
	if err := scan(context.Background(), null); err == nil {
		t.Error("a device without its directory")
	}
	must(t, os.Mkdir(tree+"/dev", 0o755))
	must(t, scan(context.Background(), null))
	if err := scan(context.Background(), null, null); err == nil {
		t.Error("one device twice")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := scan(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, _, _, err := Scan(context.Background(), tree+"/none", ScanOptions{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no tree: %v", err)
	}
	t.Run("mount", func(t *testing.T) {
		needsRoot(t)
		c := exec.Command("/proc/self/exe", tree)
		c.Env = append(os.Environ(), "ROOTCTL_SNAPSHOT_TEST=mounted")
		c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
		if out, err := c.CombinedOutput(); !strings.Contains(string(out), "dev is a mount point") {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("whiteout", func(t *testing.T) {
		needsRoot(t)
		must(t, unix.Mknod(tree+"/gone", unix.S_IFCHR, 0))
		if err := scan(context.Background()); err == nil || !strings.Contains(err.Error(), "whiteout") {
			t.Errorf("%v", err)
		}
	})
}

// A scan that ends early, at any file, leaves no descriptor open.
func TestCancelledScan(t *testing.T) {
	tree := t.TempDir()
	for i := range 300 {
		must(t, os.WriteFile(fmt.Sprintf("%s/%d", tree, i), make([]byte, i*3000), 0o644))
	}
	open := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(names)
	}
	before := open()
	for stop := int64(1); stop < 1<<27; stop *= 3 {
		ctx, cancel := context.WithCancel(context.Background())
		_, _, _, err := Scan(ctx, tree, ScanOptions{Workers: 4, Progress: func(n int64) {
			if n >= stop {
				cancel()
			}
		}})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled after %d bytes: %v", stop, err)
		}
	}
	if after := open(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func mountedTask() {
	tree := os.Args[1]
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("tmpfs", tree+"/dev", "tmpfs", 0, "")
	}
	if err == nil {
		_, _, _, err = Scan(context.Background(), tree, ScanOptions{})
	}
	fmt.Println(err)
	os.Exit(0)
}

// A capability that was set inside a user namespace is the same capability.
func TestNamespacedCapability(t *testing.T) {
	v2 := "\x01\x00\x00\x02" + strings.Repeat("\x20\x00\x00\x00", 4)
	v3 := "\x01\x00\x00\x03" + v2[4:] + "\x00\x00\x00\x70"
	if got := canonicalXattr("security.capability", v3); got != v2 {
		t.Errorf("revision 3: %q", got)
	}
	if got := canonicalXattr("security.capability", v2); got != v2 {
		t.Errorf("revision 2: %q", got)
	}
	if got := canonicalXattr("user.x", v3); got != v3 {
		t.Errorf("another attribute: %q", got)
	}
}

// Whatever stands in an entry, archive/tar reads it back.
func FuzzHeader(f *testing.F) {
	f.Add("etc/passwd", "", uint32(0o644), uint32(0), uint32(0), int64(5), int64(1600000000), "user.x", "y")
	f.Add(strings.Repeat("\xff/", 70)+"x", strings.Repeat("l", 101), uint32(0o7777), uint32(1<<21), uint32(1<<32-1),
		int64(1)<<33, int64(1)<<33, "user.a=b%", "\x00\n")
	f.Fuzz(func(t *testing.T, path, link string, mode, uid, gid uint32, size, mtime int64, xname, xvalue string) {
		e := Entry{Path: path, Mode: mode, UID: uid, GID: gid, MTime: mtime, Type: TypeFile, Size: size, SHA256: Sum(nil)}
		if link != "" {
			e.Type, e.Link, e.Size, e.SHA256 = TypeSymlink, link, 0, ""
		}
		if xname != "" {
			e.Xattrs = map[string]string{xname: xvalue}
		}
		if e.check() != nil || path == "." || strings.Contains(xname, "%") || strings.Contains(xname, "=") {
			return
		}
		var w headerWriter
		b := bytes.Clone(w.header(&e))
		if len(b)%block != 0 {
			t.Fatalf("%d bytes", len(b))
		}
		h, err := tar.NewReader(bytes.NewReader(b)).Next()
		if err != nil {
			t.Fatalf("%v: %q", err, b)
		}
		flag := byte(tar.TypeReg)
		if link != "" {
			flag = tar.TypeSymlink
		}
		want := []any{"./" + path, flag, link, int64(mode), int(uid), int(gid), e.Size, mtime}
		got := []any{h.Name, h.Typeflag, h.Linkname, h.Mode, h.Uid, h.Gid, h.Size, h.ModTime.Unix()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if xname != "" && h.PAXRecords["SCHILY.xattr."+xname] != xvalue {
			t.Errorf("attribute %q, want %q", h.PAXRecords, xvalue)
		}
	})
}
