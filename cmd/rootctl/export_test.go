package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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
