package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// testOtherIDs runs a root built without ranges once the user has some, and the other way round.
func testOtherIDs(t *testing.T, f *fixture) {
	o := f.as(t, false)
	single := *o
	path := filepath.Join(o.home, "bin") // a newuidmap that refuses, as one that is not setuid does
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"newuidmap", "newgidmap"} {
		if err := os.WriteFile(filepath.Join(path, n), []byte("#!/bin/sh\necho write to uid_map failed >&2\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	without := func(args ...string) (string, int) {
		c := single.command(args...)
		c.Env = []string{"HOME=" + o.home, "PATH=" + path + ":/usr/bin:/bin"}
		out, _ := c.CombinedOutput()
		return string(out), c.ProcessState.ExitCode()
	}
	if out, code := without(o.args...); code != 0 || !strings.Contains(out, "write to uid_map failed") {
		t.Fatalf("build: exit code %d\n%s", code, out)
	}
	show := []string{"run", "-q", "fixture", "stat", "-c", "%u:%g %a", "/var/mail"}
	if out, code := without(show...); code != 0 || !strings.HasSuffix(out, "0:0 2775\n") {
		t.Errorf("without ranges: exit code %d, %s", code, out)
	}
	if out := o.must(t, show...); out != "0:8 2775\n" {
		t.Errorf("with ranges: %s", out)
	}
	if out, code := without(show...); code != codeRunFailed || !strings.Contains(out, "no longer have") || !strings.Contains(out, "hint: rootctl build") {
		t.Errorf("ranges lost: exit code %d, %s", code, out)
	}
	// The build that the hint names makes it anew.
	if out, code := without(o.args...); code != 0 || !strings.Contains(out, "fixture is ready: ") {
		t.Errorf("build without ranges: exit code %d, %s", code, out)
	}
	if out, code := without(show...); code != 0 || !strings.HasSuffix(out, "0:0 2775\n") {
		t.Errorf("without ranges, built anew: exit code %d, %s", code, out)
	}
	if out := o.must(t, show...); out != "0:8 2775\n" { // which restores the owners
		t.Errorf("with ranges again: %s", out)
	}
	testMovedRange(t, o, show)
}

// testMovedRange gives the user other ranges than those with which the root was built: elsewhere, and a few ids off, so
// that most owners have an id, but not theirs.
func testMovedRange(t *testing.T, o *ordinary, show []string) {
	r := o.ranges.UIDs[len(o.ranges.UIDs)-1]
	for _, by := range []uint32{1 << 20, 3} {
		dir := t.TempDir()
		line := fmt.Sprintf("%s:%d:65536\n", testUser, r.Base+by)
		for _, n := range []string{"subuid", "subgid"} {
			if err := os.WriteFile(filepath.Join(dir, n), []byte(line), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		moved := func(args ...string) (string, int) {
			script := `mount --bind "$0/subuid" /etc/subuid && mount --bind "$0/subgid" /etc/subgid && shift && exec setpriv --reuid "$1" --regid "$2" --clear-groups "${@:3}"`
			c := exec.Command("bash", append([]string{"-c", script, dir, "", strconv.Itoa(o.uid), strconv.Itoa(o.gid), o.self}, args...)...)
			c.Dir = o.home
			c.Env = []string{"HOME=" + o.home, "PATH=/usr/bin:/bin"}
			c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			out, _ := c.CombinedOutput()
			return string(out), c.ProcessState.ExitCode()
		}
		if by < 8 { // the owners that this root has are within both ranges: they are put right
			if out, code := moved(show...); code != 0 || out != "0:8 2775\n" {
				t.Errorf("range moved by %d: exit code %d, %s", by, code, out)
			}
			if out := o.must(t, show...); out != "0:8 2775\n" {
				t.Errorf("and back: %s", out)
			}
			continue
		}
		if out, code := moved(show...); code != codeRunFailed || !strings.Contains(out, "no longer have") || !strings.Contains(out, "hint: rootctl build") {
			t.Errorf("range moved by %d: exit code %d, %s", by, code, out)
		}
		if out, code := moved(o.args...); code != 0 || !strings.Contains(out, "fixture is ready: ") {
			t.Errorf("range moved by %d, build: exit code %d, %s", by, code, out)
		}
		if out, code := moved(show...); code != 0 || out != "0:8 2775\n" {
			t.Errorf("range moved by %d, built anew: exit code %d, %s", by, code, out)
		}
		if out, errs, code := o.run(t, show...); code != codeRunFailed || !strings.Contains(errs, "no longer have") {
			t.Errorf("back: exit code %d, %s%s", code, out, errs)
		}
		if out, errs, code := o.run(t, o.args...); code != 0 || !strings.Contains(errs, "fixture is ready: ") {
			t.Errorf("back, build: exit code %d, %s%s", code, out, errs)
		}
	}
}
