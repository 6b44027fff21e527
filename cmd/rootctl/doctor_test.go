package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// privateMounts gives this thread mounts of its own.
func privateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
}

// pretendArmour covers /proc/sys with a tree in which AppArmor's restriction is on. This kernel knows nothing of it.
func pretendArmour() error {
	if err := privateMounts(); err != nil {
		return err
	}
	if err := unix.Mount("sys", "/proc/sys", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	return errors.Join(os.MkdirAll("/proc/sys/kernel", 0o755), os.WriteFile("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", []byte("1\n"), 0o644))
}

// hideUIDMap puts what nobody can execute over newuidmap and newgidmap.
func hideUIDMap() error {
	if err := privateMounts(); err != nil {
		return err
	}
	for _, name := range []string{"newuidmap", "newgidmap"} {
		p, err := exec.LookPath(name)
		if err != nil {
			return err
		}
		if err := unix.Mount("/dev/null", p, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}

// onRung is command on a rung, which root puts the user on.
func (o *ordinary) onRung(rung string, args ...string) *exec.Cmd {
	c := o.command(args...)
	if rung == "" {
		return c
	}
	id := c.SysProcAttr.Credential
	c.SysProcAttr.Credential = nil
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		setpriv = "/usr/bin/setpriv"
	}
	as := []string{rungName + rung, setpriv, "--reuid", fmt.Sprint(id.Uid), "--regid", fmt.Sprint(id.Gid), "--clear-groups"}
	probe := o.probe()
	c.Path, c.Args = probe, append(append([]string{probe}, append(as, o.self)...), args...)
	return c
}

// TestDoctorForced: what is missing is found by the real probes, with one fix, and run and build, which miss it too, say the
// same.
func TestDoctorForced(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become another user, and mounts and filters against it")
	}
	f := newFixture(t)
	ranges, single := f.as(t, false), f.as(t, true)
	for _, o := range []*ordinary{ranges, single} {
		o.must(t, o.args...)
	}
	nat := []string{"run", "-q", "--no-build", "--net=nat", "fixture", "true"}
	anew := append([]string{"--cache", filepath.Join(ranges.home, "other")}, ranges.args...)
	plain := []string{"run", "--no-build", "fixture", "true"}
	for _, x := range []struct {
		name, rung, path string
		user             *ordinary
		probe, fix       string
		needed           bool
		verb             []string
		code             int
	}{
		{"user namespaces filtered: run", "strict", "", ranges, "isolation", "docker run", true, plain, 125},
		{"user namespaces filtered: build", "strict", "", ranges, "isolation", "docker run", true, anew, 1},
		{"AppArmor: run", "armour", "", ranges, "user namespace", "sudo rootctl doctor --fix", true, plain, 125},
		{"AppArmor: build", "armour", "", ranges, "user namespace", "sudo rootctl doctor --fix", true, anew, 1},
		{"AppArmor, its own line", "armour", "", ranges, "AppArmor leaves user namespaces alone", "sudo rootctl doctor --fix", false, plain, 125},
		{"no newuidmap", "uidmap", "", ranges, "id ranges", "sudo apt-get install uidmap", false, plain, 125}, // the root is there with ranges
		{"no range: run", "", "", single, "id ranges", "sudo usermod --add-subuids", false, plain, 0},
		{"no tun", "tun", "", ranges, "/dev/net/tun, for --net=nat without root", "/dev/net/tun", false, nat, 125},
		{"no pasta", "", "/nowhere", ranges, "pasta or slirp4netns, for --net=nat without root", "sudo apt-get install passt", false, nat, 125},
	} {
		t.Run(x.name, func(t *testing.T) {
			at := func(args ...string) (string, string, int) {
				c := x.user.onRung(x.rung, args...)
				if x.path != "" {
					c.Env = append(c.Env, "PATH="+x.path)
				}
				return outcome(t, c)
			}
			out, errs, code := at("doctor", "--json")
			var report struct {
				Works    bool             `json:"works"`
				Findings []runner.Finding `json:"findings"`
			}
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				t.Fatalf("doctor: code %d, %v: %s%s", code, err, out, errs)
			}
			var found *runner.Finding
			for i, y := range report.Findings {
				if y.Probe == x.probe {
					found = &report.Findings[i]
				}
				if !y.OK && y.Needed && (y.Fix == "" || strings.Contains(y.Fix, "\n")) {
					t.Errorf("%s: the fix is not one line: %q", y.Probe, y.Fix)
				}
			}
			if found == nil || found.OK || found.Needed != x.needed {
				t.Fatalf("doctor says %+v", found)
			}
			fix := found.Fix
			if len(found.Lines) > 0 { // what to do is a list of lines: the verbs give the first
				_, fix, _ = strings.Cut(found.Lines[0], ": ")
			}
			if !strings.Contains(fix, x.fix) {
				t.Fatalf("doctor says %+v", found)
			}
			if x.needed && report.Works || (code != 0) != (!report.Works) {
				t.Errorf("works: %v, code %d", report.Works, code)
			}
			out, errs, code = at(x.verb...)
			if code != x.code || !strings.Contains(errs, fix) {
				t.Errorf("%s: code %d, want %d and doctor's fix %q:\n%s%s", x.verb[0], code, x.code, fix, out, errs)
			}
		})
	}
	if left, _ := filepath.Glob(filepath.Join(ranges.home, ".cache", "rootctl", ".rootctl-doctor-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
