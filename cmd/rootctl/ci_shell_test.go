package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// jobFolders makes the folders of a runner: the workspace and its own.
func jobFolders(t *testing.T, home string, uid, gid int) (workspace, temp string) {
	t.Helper()
	workspace, temp = filepath.Join(home, "job", "repo"), filepath.Join(home, "job", "temp")
	for _, dir := range []string{filepath.Dir(workspace), workspace, temp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	return workspace, temp
}

// testShellOfVerbs has steps run in roots that are called as the verbs of the quick program are.
func testShellOfVerbs(t *testing.T, one string, env []string, do func(program string, args ...string) (out, errs string, code int)) {
	workspace, temp := jobFolders(t, t.TempDir(), 0, 0)
	script := filepath.Join(temp, "step.sh")
	if err := os.WriteFile(script, []byte("echo in $(pwd) $#; cat /mark 2>/dev/null || echo x >/mark; exit 6\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	env = append(env, "GITHUB_WORKSPACE="+workspace, "RUNNER_TEMP="+temp)
	step := func(program string, args ...string) (string, int) {
		cmd := exec.Cmd{Path: one, Args: append([]string{program}, args...), Env: env, Dir: workspace}
		out, _ := cmd.CombinedOutput() // the code tells
		return string(out), cmd.ProcessState.ExitCode()
	}
	defer step("rootctl", "ci", "end")
	for _, name := range []string{"run", "exec"} {
		if _, errs, code := do("rootctl", "tag", "both", name); code != 0 {
			t.Fatal(errs)
		}
		mark := ""
		for _, program := range []string{shellName, "/usr/local/bin/" + shellName} {
			if out, code := step(program, name, script); code != 6 || out != "in "+workspace+" 0\n"+mark {
				t.Errorf("%s %s FILE: code %d\n%s", program, name, code, out)
			}
			mark = "x\n" // a step of the same job has the same copy
		}
	}
	if out, code := step("rootctl", "run", "run", "cat", "/etc/passwd"); code != 0 || !strings.HasPrefix(out, "root:") {
		t.Errorf("run run: code %d\n%s", code, out)
	}
}

// testCI has steps of a job run in a root as an ordinary user.
func (o *ordinary) testCI(t *testing.T) {
	workspace, temp := jobFolders(t, o.home, o.uid, o.gid)
	for name, body := range map[string]string{
		"one": "id -u; pwd; echo x >/mark; touch made; echo K=V >>$GITHUB_ENV; echo $MINE",
		"two": "cat /mark; exit 3",
	} {
		if err := os.WriteFile(filepath.Join(temp, name), []byte(body+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	shell := filepath.Join(o.home, shellName)
	if err := os.Symlink(o.self, shell); err != nil {
		t.Fatal(err)
	}
	variables := filepath.Join(temp, "env")
	step := func(args ...string) (string, string, int) {
		c := o.command(args...)
		if args[0] == "fixture" {
			c.Path, c.Args[0] = shell, shell
		}
		c.Dir = workspace
		c.Env = append(c.Env, "GITHUB_WORKSPACE="+workspace, "RUNNER_TEMP="+temp, "GITHUB_ENV="+variables, "MINE=of the step")
		return outcome(t, c)
	}
	if out, errs, code := step("fixture", filepath.Join(temp, "one")); code != 0 || out != "0\n"+workspace+"\nof the step\n" {
		t.Errorf("the first step: code %d\n%s%s", code, out, errs)
	}
	if out, errs, code := step("fixture", filepath.Join(temp, "two")); code != 3 || out != "x\n" {
		t.Errorf("the second step: code %d\n%s%s", code, out, errs)
	}
	for _, file := range []string{filepath.Join(workspace, "made"), variables} {
		st, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if s := st.Sys().(*syscall.Stat_t); int(s.Uid) != o.uid || int(s.Gid) != o.gid {
			t.Errorf("%s belongs to %d:%d, not to the user", file, s.Uid, s.Gid)
		}
	}
	if b, err := os.ReadFile(variables); err != nil || string(b) != "K=V\n" {
		t.Errorf("GITHUB_ENV: %q, %v", b, err)
	}
	if out, errs, code := step("ci", "end"); code != 0 {
		t.Errorf("ci end: code %d\n%s%s", code, out, errs)
	}
	if out := o.must(t, "ps", "-a"); strings.Contains(out, "ci-") {
		t.Errorf("left behind:\n%s", out)
	}
}
