package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// testMasked: namespaces, but no fresh /proc.
func (f *fixture) testMasked(t *testing.T, rung, want string) {
	dir := filepath.Join(t.TempDir(), "cache")
	on := f.on(rung, dir)
	const lost = "/proc and /sys inside are the outer ones"
	if !t.Run("build", func(t *testing.T) {
		out, errs, code := outcome(t, on(f.args...))
		if code != 0 || digestOf(t, dir) != want || strings.Count(errs, lost) != 1 {
			t.Fatalf("exit code %d, root %s, want %s\n%s%s", code, digestOf(t, dir), want, out, errs)
		}
	}) {
		return
	}
	t.Run("run", func(t *testing.T) {
		const script = `echo $$; test -d /proc/` + "%d" + ` && echo outer; sleep 27.1828 & echo >/proc/sys/kernel/core_pattern; echo 5 >/proc/1/oom_score_adj; kill -9 %[1]d; exit 7`
		out, errs, code := outcome(t, on("run", "fixture", "sh", "-c", fmt.Sprintf(script, os.Getpid())))
		if code != 7 || out != "1\nouter\n" || strings.Count(errs, lost) != 1 {
			t.Errorf("exit code %d, output %q\n%s", code, out, errs)
		}
		if left := sleepers(t, "27.1828"); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	t.Run("exec", func(t *testing.T) {
		id, errs, code := outcome(t, on("run", "-d", "fixture", "sleep", "27.1828"))
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, errs)
		}
		id = strings.TrimSpace(id)
		if out, errs, code := outcome(t, on("exec", id, "sh", "-c", "test -e /proc/self/fd && echo in")); code != 0 || out != "in\n" {
			t.Errorf("exec: exit code %d, output %q\n%s", code, out, errs)
		}
		if out, errs, code := outcome(t, on("rm", "-f", id)); code != 0 {
			t.Errorf("rm: exit code %d\n%s%s", code, out, errs)
		}
	})
	t.Run("bare", func(t *testing.T) {
		if _, errs, code := outcome(t, on("run", "--bare", "fixture", "true")); code != codeRunFailed || !strings.Contains(errs, "systempaths=unconfined") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
	})
	t.Run("doctor", func(t *testing.T) {
		out, errs, code := outcome(t, on("doctor"))
		if code != 0 || !strings.Contains(out, "ok  isolation: namespaces, but /proc or /sys of the outside\n") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
	})
	if left := leftFiles(t, dir); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// testMaskedUser: the same for an ordinary user, as in the images that run as one.
func (f *fixture) testMaskedUser(t *testing.T) {
	o := f.as(t, false)
	o.must(t, o.args...)
	c := o.command("run", "fixture", "sh", "-c", "echo $$ $(id -u); exit 7")
	probe := o.bring(t, f.probe())
	c.Args = append([]string{probe, rungName + "masked"}, append([]string{"/usr/bin/setpriv", "--reuid", fmt.Sprint(o.uid), "--regid", fmt.Sprint(o.gid), "--clear-groups"}, c.Args...)...)
	c.Path, c.SysProcAttr = probe, nil
	out, errs, code := outcome(t, c)
	if code != 7 || out != "1 0\n" || strings.Count(errs, "/proc and /sys inside are the outer ones") != 1 {
		t.Errorf("exit code %d, output %q\n%s", code, out, errs)
	}
}

// testNone: neither namespaces nor chroot. Every refusal says what to give the outer container.
func (f *fixture) testNone(t *testing.T, built string) {
	empty := filepath.Join(t.TempDir(), "cache")
	const line = "docker run --security-opt seccomp=unconfined"
	for _, x := range []struct {
		verb string
		code int
		dir  string
		args []string
	}{
		{"build", codeFailed, empty, f.args},
		{"run", codeRunFailed, built, []string{"run", "fixture", "true"}},
		{"run-chroot", codeRunFailed, built, []string{"run", "--isolation=chroot", "fixture", "true"}},
	} {
		t.Run(x.verb, func(t *testing.T) {
			out, errs, code := outcome(t, f.on("none", x.dir)(x.args...))
			if code != x.code || strings.Count(errs, line) != 1 {
				t.Errorf("exit code %d, want %d\n%s%s", code, x.code, out, errs)
			}
		})
	}
	t.Run("cached", func(t *testing.T) {
		if out, errs, code := outcome(t, f.on("none", built)(f.args...)); code != 0 {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
	})
	t.Run("doctor", func(t *testing.T) {
		out, errs, code := outcome(t, f.on("none", built)("doctor"))
		if code != codeFailed || !strings.Contains(out, "no  isolation: none") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
		for _, line := range []string{line, "[runners.docker]", "securityContext:"} {
			if !strings.Contains(out, line) {
				t.Errorf("%q is not said\n%s", line, out)
			}
		}
	})
}

// rungs are modes of the matrix where something stands in for what is refused.
func (f *fixture) rungs(shared string) []namedMode {
	of := func(command func(args ...string) *exec.Cmd, claimed, outer bool) func(*testing.T) *mode {
		return func(*testing.T) *mode {
			return &mode{command: command, cache: shared, claimed: claimed, outer: outer, probe: f.self}
		}
	}
	return []namedMode{
		{"shifted", of(func(args ...string) *exec.Cmd { return f.shifted(shared, args...) }, true, false)},
		{"masked", of(f.on("masked", shared), true, true)},
		{"podman", of(f.on("podman", shared), false, true)},
	}
}
