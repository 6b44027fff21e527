package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

// manyFiles is a root of some hundred files and what is hard to express: owners, a capability, devices.
func manyFiles(t testing.TB) []byte {
	headers := []tar.Header{dir("./"), dir("./bin"), {Name: "./bin/ping", PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + strings.Repeat("\x00", 14)}},
		{Name: "./bin/su", Mode: 0o4755}, dir("./dev"), {Name: "./dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}
	for d := range 16 {
		headers = append(headers, dir(fmt.Sprintf("./d%02d", d)))
		for f := range 30 {
			headers = append(headers, tar.Header{Name: fmt.Sprintf("./d%02d/%03d", d, f), Uid: f, Gid: d, Mode: 0o640})
		}
	}
	return tarOf(t, headers...)
}

// TestKilledImports ends imports by SIGKILL and SIGINT at random moments and looks for anything left.
func TestKilledImports(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: a cache whose imports have devices and owners")
	}
	file := filepath.Join(t.TempDir(), "many.tar.gz")
	if err := os.WriteFile(file, gzipped(t, manyFiles(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fixture{self: ownCopy(t), args: []string{"import", file, "--tag", "many"}}
	root := filepath.Join(t.TempDir(), "cache")
	start := time.Now()
	if out, err := f.command(filepath.Join(t.TempDir(), "calm"), f.args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	took := time.Since(start)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		for n := range 5 {
			delay := time.Duration(n+1)*took/6 + time.Duration(rand.Int64N(int64(took)/5))
			f.killOne(t, root, sig, delay)
			check := f.checkLeft
			if sig == syscall.SIGKILL {
				check = f.checkKilled
			}
			check(t, root, fmt.Sprintf("%v after %v of %v", sig, delay, took))
		}
	}
	f.args = []string{"import", "-", "--tag", "many"} // a pipe in which nothing moves
	c := f.command(root, f.args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c.Stdin = r
	var said bytes.Buffer
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	time.Sleep(150 * time.Millisecond)
	_ = c.Process.Signal(syscall.SIGINT)
	if err := c.Wait(); c.ProcessState.ExitCode() != codeInterrupted || !strings.Contains(said.String(), "nothing was left behind") {
		t.Errorf("INT while it waits for input: %v\n%s", err, said.String())
	}
	f.checkLeft(t, root, "INT while it waits for input")
}

// TestImportFullDisk imports on disks that are too small: a clear error, no litter, and with room it works.
func TestImportFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	file := filepath.Join(t.TempDir(), "many.tar")
	if err := os.WriteFile(file, manyFiles(t), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fixture{self: ownCopy(t)}
	for _, limit := range []string{"size=100k", "size=700k", "size=1500k", "nr_inodes=30", "nr_inodes=300"} {
		small := filepath.Join(t.TempDir(), "small")
		if err := os.Mkdir(small, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", small, "tmpfs", 0, limit); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
		c := f.command(small, "import", file, "--tag", "many", "--max-size", "1GB")
		out, err := c.CombinedOutput()
		text := string(out)
		if err == nil || c.ProcessState.ExitCode() != codeFailed || !strings.Contains(text, "hint: ") ||
			!strings.Contains(text, "full") && !strings.Contains(text, "no space left") {
			t.Errorf("%s: %v\n%s", limit, err, text)
		}
		if left := leftFiles(t, small); len(left) > 0 {
			t.Errorf("%s: left behind: %q", limit, left)
		}
		if err := unix.Mount("", small, "", unix.MS_REMOUNT, "size=1g,nr_inodes=100000"); err != nil {
			t.Fatal(err)
		}
		if out, err := f.command(small, "import", file, "--tag", "many").CombinedOutput(); err != nil {
			t.Errorf("%s, then room: %v\n%s", limit, err, out)
		}
	}
}

// TestRootlessImport imports as an ordinary user, with a range of ids and with one: the digest is root's.
func TestRootlessImport(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become an ordinary user")
	}
	headers := []tar.Header{}
	data := manyFiles(t)
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		headers = append(headers, *h)
	}
	f := &fixture{self: ownCopy(t)}
	file := filepath.Join(t.TempDir(), "many.tar")
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
	canonical := canonicalOf(t, data)
	for _, single := range []bool{false, true} {
		name := map[bool]string{false: "a range of ids", true: "one id"}[single]
		t.Run(name, func(t *testing.T) {
			o := f.as(t, single)
			var report importReport
			if err := json.Unmarshal([]byte(o.must(t, "import", o.bring(t, file), "--tag", "many", "--json")), &report); err != nil {
				t.Fatal(err)
			}
			if want := "sha256:" + string(cache.Sum(canonical)); report.Digest != want || report.Entries != len(headers) {
				t.Errorf("%+v, want %s of %d entries", report, want, len(headers))
			}
			o.checkLeft(t, "an import")
			var out bytes.Buffer
			c := o.command("export", "many", "--format", "tar")
			c.Stdout = &out
			if err := c.Run(); err != nil || !bytes.Equal(out.Bytes(), canonical) {
				t.Errorf("export: %v, %d bytes", err, out.Len())
			}
			if !single {
				far := filepath.Join(t.TempDir(), "far.tar")
				if err := os.WriteFile(far, tarOf(t, tar.Header{Name: "f", Uid: 3_000_000}), 0o644); err != nil {
					t.Fatal(err)
				}
				if _, errs, code := o.run(t, "import", o.bring(t, far)); code != codeFailed || !strings.Contains(errs, "outside of your range") || !strings.Contains(errs, "hint: ") {
					t.Errorf("an owner without a place: %d\n%s", code, errs)
				}
				o.checkLeft(t, "a refused import")
			}
		})
	}
}

// canonicalOf is what root's import of a tar gives back.
func canonicalOf(t *testing.T, data []byte) []byte {
	t.Helper()
	f := &fixture{self: ownCopy(t)}
	root := filepath.Join(t.TempDir(), "cache")
	c := f.command(root, "import", "-", "--tag", "x")
	c.Stdin = bytes.NewReader(data)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := f.command(root, "export", "x", "--format", "tar").Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}
