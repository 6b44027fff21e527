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
