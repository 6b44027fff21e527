package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSameDigestInAllSurroundings builds the same thing under another umask, time zone, locale, number of processors and
// host name, and on other file systems: one digest.
func TestSameDigestInAllSurroundings(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	want := f.build(t, filepath.Join(t.TempDir(), "cache"))
	build := func(t *testing.T, dir, script string, env ...string) {
		t.Helper()
		c := exec.Command("sh", append([]string{"-c", script + `exec "$0" "$@"`, f.self}, append(f.args, "--json")...)...)
		c.Env = append(append(os.Environ(), "ROOTCTL_CACHE="+dir), env...)
		c.Stderr = os.Stderr
		out, err := c.Output()
		var b buildReport
		if err == nil {
			err = json.Unmarshal(out, &b)
		}
		if err != nil || b.Cached || b.Digest != "sha256:"+want {
			t.Errorf("digest %s, cached %v, want %s: %v", b.Digest, b.Cached, want, err)
		}
	}
	for _, tt := range []struct {
		summary, script string
		env             []string
	}{
		{"umask 077, time zone, locale, one processor", "umask 077; ", []string{"TZ=Asia/Kolkata", "LC_ALL=tr_TR.UTF-8", "GOMAXPROCS=1"}},
		{"umask 0, eight processors, host name", `umask 0; exec unshare --uts sh -c 'hostname other && exec "$0" "$@"' "$0" "$@"; `, []string{"GOMAXPROCS=8"}},
		{"few files open, no home", "ulimit -n 256; cd /; ", []string{"HOME=/nonexistent"}},
	} {
		t.Run(tt.summary, func(t *testing.T) { build(t, filepath.Join(t.TempDir(), "cache"), tt.script, tt.env...) })
	}
	for _, kind := range []string{"tmpfs", "ext4", "btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			build(t, filepath.Join(mountNew(t, kind), "cache"), "")
		})
	}
}

// mountNew mounts an empty file system until the test ends.
func mountNew(t *testing.T, kind string) string {
	t.Helper()
	dir := t.TempDir()
	if kind == "tmpfs" {
		if err := unix.Mount("test", dir, kind, 0, ""); err != nil {
			t.Fatal(err)
		}
	} else {
		image := filepath.Join(t.TempDir(), "image")
		file, err := os.Create(image)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		if err := file.Truncate(400 << 20); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"mkfs." + kind, "-q", image}, {"mount", "-o", "loop", image, dir}} {
			c := exec.Command("sh", append([]string{"-c", `PATH=$PATH:/usr/sbin:/sbin; exec "$0" "$@"`}, args...)...)
			if out, err := c.CombinedOutput(); err != nil {
				t.Skipf("needs loop devices and %s: %v: %s", kind, err, out)
			}
		}
	}
	t.Cleanup(func() {
		var err error
		for range 50 { // until the keeper of the build has let go
			if err = unix.Unmount(dir, 0); err != unix.EBUSY {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("unmount %s: %v", kind, err)
		}
	})
	return dir
}
