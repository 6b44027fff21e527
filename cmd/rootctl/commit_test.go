package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// changing changes a copy: an owner where there are others, a mode, a removed file, a folder made anew.
const changing = "echo hello > /etc/motd; chmod 4711 /etc/motd; rm /bin/rm; rm -r /var/lib/dpkg/info; mkdir /var/lib/dpkg/info; echo n > /var/lib/dpkg/info/new"

// seen is how a container sees them.
const seen = "stat -c '%n %a %u:%g' /etc/motd; ls /var/lib/dpkg/info /bin/rm 2>&1; cat /etc/motd"

// TestCommitAsUser commits as an ordinary user with ranges and with a single id: other ids and marks on the disk.
func TestCommitAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: becomes other users")
	}
	f := newFixture(t)
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprintf("single=%v", single), func(t *testing.T) {
			o := f.as(t, single)
			o.must(t, o.args...)
			before := o.must(t, "show", "--json", "fixture")
			change := changing
			if !single {
				change += "; chown 33:34 /etc/motd; chmod 4711 /etc/motd; mkdir /var/lib/dpkg/info/sub; chown 1000 /var/lib/dpkg/info/sub"
			}
			want := o.must(t, "run", "-q", "--keep", "--name", "work", "fixture", "--", "sh", "-c", change+"; "+seen)
			list := o.must(t, "diff", "work")
			for _, line := range []string{"A /etc/motd\n", "D /bin/rm\n", "A /var/lib/dpkg/info/new\n"} {
				if !strings.Contains(list, line) {
					t.Errorf("diff has no %q:\n%s", line, list)
				}
			}
			for _, own := range []string{"hosts", "hostname", "resolv.conf", "/dev", "/proc", "/tmp", "99rootctl"} {
				if strings.Contains(list, own) {
					t.Errorf("diff has what the runner made, %s:\n%s", own, list)
				}
			}
			o.must(t, "commit", "work", "mine")
			o.must(t, "rm", "work")
			if got := o.must(t, "run", "-q", "mine", "--", "sh", "-c", seen); got != want {
				t.Errorf("the committed root has\n%s, the container had\n%s", got, want)
			}
			o.must(t, "cache", "verify")
			if after := o.must(t, "show", "--json", "fixture"); after != before {
				t.Errorf("the root was\n%s, is\n%s", before, after)
			}
			o.checkLeft(t, "commit")
		})
	}
}

// TestKilledCommit ends commits by SIGKILL: nothing is left but the container, and the next one is whole.
func TestKilledCommit(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f, dir := newFixture(t), filepath.Join(t.TempDir(), "cache")
	t.Setenv("ROOTCTL_STATE", filepath.Join(t.TempDir(), "state", "containers"))
	f.build(t, dir)
	must := func(args ...string) {
		t.Helper()
		if out, err := f.command(dir, args...).CombinedOutput(); err != nil {
			t.Fatalf("rootctl %v: %v\n%s", args, err, out)
		}
	}
	must("run", "--keep", "--name", "work", "fixture", "--", "sh", "-c", changing)
	start := time.Now()
	must("commit", "work", "calm")
	took := time.Since(start)
	must("untag", "calm")
	for n := range 12 {
		c := f.command(dir, "commit", "work", fmt.Sprint("n", n))
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(took))))
		_ = c.Process.Signal(syscall.SIGKILL)
		_ = c.Wait()
		f.checkKilled(t, dir, fmt.Sprint("commit ", n))
	}
	must("commit", "work", "last")
	must("run", "last", "--", "sh", "-c", "test -u /etc/motd && test ! -e /bin/rm && test -e /var/lib/dpkg/info/new")
	must("cache", "verify")
	must("rm", "work")
}

// On a cache where the root is copied as a whole for each run, a kept copy says nothing of what was deleted: commit and
// diff refuse it rather than give wrong bytes.
func TestCommitOfWholeCopy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	base := t.TempDir()
	at := func(n string) string { return filepath.Join(base, n) }
	for _, n := range []string{"m", "m/l", "m/u", "m/w", "over"} {
		if err := os.Mkdir(at(n), 0o755); err != nil {
			t.Fatal(err)
		}
		if n == "m" { // overlay takes no overlay as its upper: whatever holds the tests
			if err := unix.Mount("tmpfs", at("m"), "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(at("m"), unix.MNT_DETACH) })
		}
	}
	if err := unix.Mount("overlay", at("over"), "overlay", 0, "lowerdir="+at("m/l")+",upperdir="+at("m/u")+",workdir="+at("m/w")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at("over"), unix.MNT_DETACH) })
	f, dir := newFixture(t), at("over/cache")
	t.Setenv("ROOTCTL_STATE", filepath.Join(t.TempDir(), "state", "containers"))
	f.build(t, dir)
	run := func(args ...string) (string, error) {
		out, err := f.command(dir, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := run("run", "--keep", "--name", "work", "fixture", "--", "sh", "-c", "echo x >/new"); err != nil || !strings.Contains(out, "whole root is copied") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range [][]string{{"diff", "work"}, {"commit", "work", "mine"}} {
		if out, err := run(args...); err == nil || !strings.Contains(out, "whole root") || !strings.Contains(out, "hint:") {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if out, err := run("rm", "work"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := run("run", "--keep", "--upper=tmpfs", "--name", "again", "fixture", "true"); err == nil {
		t.Errorf("a kept copy in memory: %s", out)
	}
}
