package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestLadderBuild: a build by chroot ends what scripts leave running, runs none that nobody signed, leaves /dev as it was,
// and nothing at all when it is killed.
func TestLadderBuild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to take rights from itself")
	}
	archive := testarchive.HostArchive(t, "bionic").Add(testarchive.Package{Name: "daemon", Scripts: map[string]string{
		"postinst": "#!/bin/sh\nset -e\necho lost >/dev/null\necho here >/dev/left\nchmod 700 /dev\n(setsid sleep 16.1803 </dev/null >/dev/null 2>&1 &)\nexit 0\n"}})
	f := fixtureOf(t, archive)
	f.args = append([]string{"build", "--include", "daemon"}, f.args[1:]...)
	want := f.build(t, filepath.Join(t.TempDir(), "cache"))
	idle := func(t *testing.T) {
		t.Helper()
		for until := time.Now().Add(15 * time.Second); len(sleepers(t, "16.1803")) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("left behind: processes %v", sleepers(t, "16.1803"))
			}
		}
	}
	t.Run("daemon", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		if out, errs, code := outcome(t, f.on("chroot", dir)(f.args...)); code != 0 || digestOf(t, dir) != want {
			t.Errorf("exit code %d, root %s, want %s\n%s%s", code, digestOf(t, dir), want, out, errs)
		}
		if left := sleepers(t, "16.1803"); len(left) > 0 {
			t.Errorf("left behind: processes %v", left)
		}
		f.checkLeft(t, dir, "build")
	})
	t.Run("killed", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		for range 8 {
			c := f.on("chroot", dir)(f.args...)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(50+rand.IntN(300)) * time.Millisecond)
			_ = c.Process.Signal(unix.SIGKILL) // it may have ended
			_ = c.Wait()
			idle(t)
			f.checkKilled(t, dir, "SIGKILL")
			_ = os.RemoveAll(filepath.Join(dir, "actions")) // so that the next one builds
		}
	})
	t.Run("unsigned", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "cache")
		args := append([]string{"build", "--no-verify"}, f.args[1:]...)
		out, errs, code := outcome(t, f.on("chroot", dir)(args...))
		if code != codeFailed || !strings.Contains(errs, "nobody signed") || !strings.Contains(errs, "hint: ") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		f.checkLeft(t, dir, "refusal")
	})
}
