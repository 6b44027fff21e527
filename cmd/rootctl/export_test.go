package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

// manifestOf is the manifest of a cached root.
func manifestOf(t *testing.T, dir, digest string) *cache.Manifest {
	t.Helper()
	s, err := cache.Open(dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Lease(t.Context(), cache.Digest(strings.TrimPrefix(digest, "sha256:")))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, err := l.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sameTree compares a tree with a manifest: every name's type, device numbers, mode, owner, size, time, attributes,
// content and hard links, and that there is nothing else. It returns how many entries are alike. mend, if not nil, may
// change an entry of the tree before: what the tool that made it is known to do otherwise.
func sameTree(t *testing.T, m *cache.Manifest, tree string, mend func(want, got *cache.Entry)) int {
	t.Helper()
	got, _, _, err := cache.Scan(t.Context(), tree, cache.ScanOptions{Epoch: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]*cache.Entry{}
	for i := range got.Entries {
		at[got.Entries[i].Path] = &got.Entries[i]
	}
	alike := 0
	for i := range m.Entries {
		want := &m.Entries[i]
		have := at[want.Path]
		delete(at, want.Path)
		if have == nil {
			t.Errorf("%s is missing: %s", tree, want.Path)
			continue
		}
		if mend != nil {
			mend(want, have)
		}
		if a, b := fmt.Sprintf("%+v", *want), fmt.Sprintf("%+v", *have); a != b {
			t.Errorf("%s:\n want %s\n have %s", want.Path, a, b)
			continue
		}
		alike++
	}
	for path := range at {
		t.Errorf("%s has what the root has not: %s", tree, path)
	}
	return alike
}

// devicesIn counts the manifest's device nodes, files with capabilities and hard links.
func census(m *cache.Manifest) (devices, caps, links int) {
	for _, e := range m.Entries {
		switch e.Type {
		case cache.TypeChar, cache.TypeBlock:
			devices++
		case cache.TypeHardlink:
			links++
		}
		if e.Xattrs["security.capability"] != "" {
			caps++
		}
	}
	return devices, caps, links
}

// gnuTar unpacks as its manual says for whole systems.
func gnuTar(t *testing.T, file, dir string) {
	t.Helper()
	c := exec.Command("tar", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", file, "-C", dir)
	if out, err := c.CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("tar: %v\n%s", err, out)
	}
}

// exported is a fixture root in a cache, and rootctl to export it.
type exported struct {
	*fixture
	dir, root string
	work      string
}

func newExported(t *testing.T) *exported {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	work := t.TempDir()
	e := &exported{fixture: f, dir: filepath.Join(work, "cache"), work: work}
	e.root = strings.TrimPrefix(f.build(t, e.dir), "sha256:")
	return e
}

func (e *exported) at(name string) string { return filepath.Join(e.work, name) }

func (e *exported) export(t *testing.T, args ...string) (string, string, int) {
	t.Helper()
	c := e.command(e.dir, append([]string{"export"}, args...)...)
	return outcome(t, c)
}

func (e *exported) must(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, code := e.export(t, args...)
	if code != 0 {
		t.Fatalf("export %v: exit code %d\n%s", args, code, errs)
	}
	return out
}

// left are the names in the work folder beside those that belong there.
func (e *exported) left(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir(e.work)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range entries {
		if f.Name() != "cache" {
			names = append(names, f.Name())
		}
	}
	return names
}

func sumOf(t *testing.T, argv ...string) string {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	r, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Every compression holds the canonical tar, whose digest is the root's name; GNU tar makes the root's tree of it, and
// so does --format dir.
func TestExportFormats(t *testing.T) {
	e := newExported(t)
	m := manifestOf(t, e.dir, e.root)
	devices, _, _ := census(m)
	if devices == 0 {
		t.Fatal("the fixture has no device nodes to lose")
	}
	for _, tt := range []struct{ file, unpack string }{
		{"r.tar", "cat"}, {"r.tar.zst", "zstd -dc"}, {"r.tgz", "gzip -dc"}, {"r.tar.xz", "xz -dc"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			var rep exportReport
			if err := json.Unmarshal([]byte(e.must(t, "fixture", "-o", e.at(tt.file), "--json")), &rep); err != nil {
				t.Fatal(err)
			}
			if got := sumOf(t, append(strings.Fields(tt.unpack), e.at(tt.file))...); got != e.root {
				t.Errorf("unpacked it is %s, the root %s", got, e.root)
			}
			st, err := os.Stat(e.at(tt.file))
			if err != nil || st.Size() != rep.Size || rep.Digest != "sha256:"+sumOf(t, "cat", e.at(tt.file)) || rep.Root != "sha256:"+e.root {
				t.Errorf("report %+v of a file of %v (%v)", rep, st, err)
			}
			dir := e.at(tt.file + ".d")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			gnuTar(t, e.at(tt.file), dir)
			sameTree(t, m, dir, nil)
		})
	}
	e.must(t, "fixture", "--format", "dir", "-o", e.at("dir"))
	sameTree(t, m, e.at("dir"), nil)
	if out, err := exec.Command("chroot", e.at("dir"), "/bin/sh", "-c", "echo in; : >/dev/null").CombinedOutput(); err != nil || string(out) != "in\n" {
		t.Errorf("chroot: %v\n%s", err, out)
	}
	if _, errs, code := e.export(t, "fixture", "--format", "dir", "-o", e.at("dir")); code != codeUsage || !strings.Contains(errs, "not empty") {
		t.Errorf("into a folder with things in it: exit code %d\n%s", code, errs)
	}
}

// The bytes depend on the root alone.
func TestExportSameBytes(t *testing.T) {
	e := newExported(t)
	formats := [][]string{{"--compress", "zstd"}, {"--compress", "gzip"}, {"--format", "oci"}, {"--format", "oci", "--compress", "none"}}
	sums := map[string]string{}
	for _, env := range [][]string{nil, {"GOMAXPROCS=1", "TZ=Asia/Kolkata", "LC_ALL=C"}, {"GOMAXPROCS=7"}} {
		old := syscall.Umask(0o077 * (len(env) % 2))
		for _, f := range formats {
			_ = os.RemoveAll(filepath.Join(e.dir, "oci", "blobs", "sha256")) // so that the layer is made, not copied
			if err := os.Mkdir(filepath.Join(e.dir, "oci", "blobs", "sha256"), 0o700); err != nil {
				t.Fatal(err)
			}
			c := e.command(e.dir, append([]string{"export", "fixture"}, f...)...)
			c.Env = append(c.Env, env...)
			out, err := c.Output()
			if err != nil {
				t.Fatal(err)
			}
			sum := fmt.Sprintf("%x", sha256.Sum256(out))
			if key := strings.Join(f, " "); sums[key] == "" {
				sums[key] = sum
			} else if sums[key] != sum {
				t.Errorf("%s with %v: %s, before %s", key, env, sum, sums[key])
			}
		}
		syscall.Umask(old)
	}
}

// What cannot be written leaves nothing, and says why.
func TestExportFails(t *testing.T) {
	e := newExported(t)
	small := e.at("small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH) //nolint:errcheck // of the test
	for _, tt := range []struct {
		summary string
		args    []string
		code    int
		says    string
	}{
		{"no such root", []string{"nosuch", "-o", e.at("x.tar")}, codeNotFound, "no root of that name"},
		{"disk full", []string{"fixture", "-o", small + "/x.tar"}, codeFailed, "no space left"},
		{"disk full, zstd", []string{"fixture", "-o", small + "/x.tar.zst"}, codeFailed, "no space left"},
		{"disk full, oci", []string{"fixture", "-o", small + "/x.oci.tar"}, codeFailed, "no space left"},
		{"disk full, dir", []string{"fixture", "--format", "dir", "-o", small}, codeFailed, "no space left"},
		{"no folder", []string{"fixture", "-o", e.at("no/x.tar")}, codeFailed, "no such file"},
		{"xz in an image", []string{"fixture", "--format", "oci", "--compress", "xz", "-o", e.at("x")}, codeUsage, "no xz"},
		{"folder compressed", []string{"fixture", "--format", "dir", "--compress", "xz", "-o", e.at("x")}, codeUsage, "not compressed"},
		{"unknown format", []string{"fixture", "--format", "zip"}, codeUsage, "tar, oci or dir"},
		{"unknown tool", []string{"fixture", "--for", "lxc"}, codeUsage, "sbuild, pbuilder or schroot"},
		{"json and stdout", []string{"fixture", "--json"}, codeUsage, "-o"},
		{"bzip2", []string{"fixture", "-o", e.at("x.tar.bz2")}, codeUsage, "does not write .bz2"},
		{"zip", []string{"fixture", "--format", "tar", "-o", e.at("x.ZIP")}, codeUsage, "does not write .ZIP"},
		{"compressed archive of an image", []string{"fixture", "--format", "oci", "-o", e.at("x.tar.gz")}, codeUsage, "name it .oci.tar"},
		{"xz for pbuilder", []string{"fixture", "--for", "pbuilder", "-o", e.at("x.tar.xz")}, codeUsage, "pbuilder wants gzip"},
		{"image for sbuild", []string{"fixture", "--for", "sbuild", "-o", e.at("x.oci")}, codeUsage, "sbuild wants a tarball"},
		{"a folder as file", []string{"fixture", "-o", small}, codeUsage, "folder"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			_, errs, code := e.export(t, tt.args...)
			if code != tt.code || !strings.Contains(errs, tt.says) {
				t.Errorf("exit code %d, want %d with %q:\n%s", code, tt.code, tt.says, errs)
			}
			if full := strings.Contains(tt.summary, "full"); full && (!strings.Contains(errs, "hint: free some space there") || strings.Contains(errs, "roots/")) {
				t.Errorf("not the output is blamed:\n%s", errs)
			}
			if names, err := os.ReadDir(small); err != nil || len(names) > 0 {
				t.Errorf("left: %v (%v)", names, err)
			}
		})
	}
	if left := e.left(t); !slices.Equal(left, []string{"small"}) {
		t.Errorf("left: %v", left)
	}
	e.checkLeft(t, e.dir, "after exports that fail")
}

// A tree that was changed in the cache is not exported.
func TestExportDamaged(t *testing.T) {
	e := newExported(t)
	file := filepath.Join(e.dir, "roots", e.root, "bin/sh")
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	for _, damage := range []func() error{
		func() error { return os.WriteFile(file, content, 0o755) },
		func() error { return os.Truncate(file, 10) },
		func() error { return os.Remove(file) },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"-o", e.at("x.tar")}, {"-o", e.at("x.tar.zst")}, {"-o", e.at("x.oci.tar")}, {"--format", "dir", "-o", e.at("x")}, {"--format", "oci", "-o", e.at("y/")}} {
			_, errs, code := e.export(t, append([]string{"fixture"}, args...)...)
			if code != codeFailed || !strings.Contains(errs, "damaged") || !strings.Contains(errs, "hint: ") {
				t.Errorf("%v: exit code %d\n%s", args, code, errs)
			}
		}
	}
	if left := e.left(t); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if out, _, code := e.export(t, "fixture", "--compress", "zstd"); code != codeFailed || len(out) > 0 {
		t.Errorf("to standard output: exit code %d and %d bytes", code, len(out))
	}
}

// Pipes and devices are written as they are; links are followed.
func TestExportSpecialOutputs(t *testing.T) {
	e := newExported(t)
	fifo := e.at("fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, compress := range []string{"none", "zstd"} {
		sum := make(chan string)
		go func() {
			sum <- sumOf(t, "sh", "-c", "sleep 0.1; if [ "+compress+" = zstd ]; then zstd -dc <"+fifo+"; else cat "+fifo+"; fi")
		}()
		e.must(t, "fixture", "--compress", compress, "-o", fifo)
		if got := <-sum; got != e.root {
			t.Errorf("through a pipe, %s: %s", compress, got)
		}
	}
	e.must(t, "fixture", "-o", "/dev/null")
	if err := os.Symlink("real.tar", e.at("link.tar")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(e.at("real.tar"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	e.must(t, "fixture", "-o", e.at("link.tar"))
	if st, err := os.Lstat(e.at("link.tar")); err != nil || st.Mode().IsRegular() || sumOf(t, "cat", e.at("real.tar")) != e.root {
		t.Errorf("the link was replaced (%v)", err)
	}
	e.must(t, "fixture", "-o", filepath.Join(e.dir, "in-the-cache.tar")) // if somebody wants it there
	if got := sumOf(t, "cat", filepath.Join(e.dir, "in-the-cache.tar")); got != e.root {
		t.Errorf("in the cache's folder: %s", got)
	}
	if out, code := e.onTerminal(t, e.dir, 80, 0, "export", "fixture"); code != codeUsage || !strings.Contains(out, "terminal") {
		t.Errorf("to a terminal: exit code %d\n%.300s", code, out)
	}
	if out, code := e.onTerminal(t, e.dir, 80, 0, "export", "fixture", "-o", e.at("t.tar.gz")); code != 0 || !strings.Contains(out, "exporting") {
		t.Errorf("with a bar: exit code %d\n%.300s", code, out)
	}
}

// An export that is ended at any moment leaves nothing beside its place, and the file is whole or not there.
func TestExportKilled(t *testing.T) {
	e := newExported(t)
	for _, args := range [][]string{{"-o", e.at("x.tar.gz")}, {"-o", e.at("x.tar.zst")}, {"--format", "dir", "-o", e.at("x")}, {"--format", "oci", "-o", e.at("y/")}} {
		for n := range 6 {
			c := e.command(e.dir, append([]string{"export", "-q", "fixture"}, args...)...)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(n*n) * 4 * time.Millisecond)
			sig := []os.Signal{syscall.SIGINT, syscall.SIGKILL}[n%2]
			_ = c.Process.Signal(sig)
			_ = c.Wait()
			target := args[len(args)-1]
			if c.ProcessState.ExitCode() != 0 {
				for range 300 { // the guard of a killed one takes a moment
					if len(e.left(t)) == 0 {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				if left := e.left(t); len(left) > 1 || len(left) == 1 && left[0] != filepath.Base(target) {
					t.Fatalf("%v after %v: left %v", args, sig, left)
				}
			}
			if err := os.RemoveAll(target); err != nil {
				t.Fatal(err)
			}
		}
	}
	e.must(t, "fixture", "-o", e.at("x.tar.zst"))
	if got := sumOf(t, "zstd", "-dc", e.at("x.tar.zst")); got != e.root {
		t.Errorf("after all that: %s", got)
	}
}

// Many exports at once make one layer; a cache that can only be read gives the same bytes and keeps nothing.
func TestExportOnce(t *testing.T) {
	e := newExported(t)
	var all []*exec.Cmd
	for n := range 6 {
		c := e.command(e.dir, "export", "-q", "fixture", "-o", e.at(fmt.Sprint(n, ".tar.zst")))
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	want := sumOf(t, "cat", e.at("0.tar.zst"))
	for n := range all {
		if got := sumOf(t, "cat", e.at(fmt.Sprint(n, ".tar.zst"))); got != want {
			t.Errorf("export %d: %s, another %s", n, got, want)
		}
	}
	blobs, err := os.ReadDir(filepath.Join(e.dir, "oci/blobs/sha256"))
	if err != nil || len(blobs) != 3 {
		t.Errorf("blobs: %v (%v)", blobs, err)
	}
	for _, b := range blobs {
		if err := os.Remove(filepath.Join(e.dir, "oci/blobs/sha256", b.Name())); err != nil {
			t.Fatal(err)
		}
	}
	script := "mount --bind $1 $1 && mount -o remount,bind,ro $1 && shift && exec \"$@\""
	c := e.command(e.dir, "export", "-q", "fixture", "-o", e.at("ro.tar.zst"))
	ro := exec.Command("unshare", append([]string{"-m", "sh", "-c", script, "sh", e.dir, c.Path}, c.Args[1:]...)...)
	ro.Env = c.Env
	if out, err := ro.CombinedOutput(); err != nil {
		t.Fatalf("from a read-only cache: %v\n%s", err, out)
	}
	if got := sumOf(t, "cat", e.at("ro.tar.zst")); got != want {
		t.Errorf("from a read-only cache: %s, want %s", got, want)
	}
}
