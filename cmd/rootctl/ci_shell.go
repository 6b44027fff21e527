package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rootctl/rootctl/internal/container"
	"github.com/rootctl/rootctl/internal/runner/state"
)

func newCIShellCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "shell NAME [COMMAND...] FILE",
		Short: "run the script of a step in a root, in a copy that the steps of a job share",
		Long: "shell is a step's shell, as `shell: rootctl-shell NAME {0}` says it. The first step of a job that names a root makes a\n" +
			"copy of it; the job's other steps run in the same. The workspace and the runner's temporary folder are at the same\n" +
			"paths inside, what is made there belongs to whom those folders belong to, and the network is the host's.\n" +
			"The script is run by bash -e -o pipefail, or sh -e where there is no bash, or by COMMAND.\n" +
			"Where ROOTCTL_LOCK names a lock file, NAME is a root of that.",
		Example: "  rootctl ci shell bionic script.sh\n  rootctl ci shell noble python3 script.py",
		Args:    args(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, given []string) error {
			a.verbIsRun = true
			return a.ciShell(c.Context(), given[0], given[1:])
		},
	}
	c.Flags().SetInterspersed(false)
	return c
}

func newCIEndCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "end",
		Short:   "end the copies that steps of this job, or of earlier ones on the same runner, have left",
		Example: "  rootctl ci end",
		Args:    args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			j, err := a.ciJob()
			if err != nil {
				return err
			}
			dir, err := a.openState()
			if err != nil {
				return err
			}
			return j.endOthers(dir, "")
		},
	}
}

// job is what the environment tells of the job that a step belongs to.
type ciJob struct {
	runner, id string   // folder of the runner's own; the job's name, another one each time
	folders    []string // shown inside at their own paths
	lock       string   // the lock file that says what the roots are; "" if none does
}

// ciJob reads the variables of GitHub's runner, or GitLab's. Without any it is one of the current folder.
func (a *app) ciJob() (*ciJob, error) {
	cwd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the current folder: %w", err)
	}
	j := ciJob{lock: a.getenv("ROOTCTL_LOCK")}
	for _, name := range []string{"GITHUB_WORKSPACE", "CI_PROJECT_DIR", "RUNNER_TEMP"} {
		dir := a.getenv(name)
		if dir == "" {
			continue
		}
		if st, err := os.Stat(dir); err != nil || !st.IsDir() || !filepath.IsAbs(dir) || filepath.Clean(dir) == "/" {
			return nil, withHint(&notFound{fmt.Errorf("%s is %q, which is no folder", name, dir)}, "let the runner set it")
		}
		if err := noColon(name, dir); err != nil {
			return nil, err
		}
		j.folders = append(j.folders, filepath.Clean(dir))
	}
	if len(j.folders) == 0 {
		if cwd == "/" {
			return nil, withHint(&flagError{errors.New("neither GITHUB_WORKSPACE nor CI_PROJECT_DIR is set, and the current folder is /")}, "go to the folder of the sources")
		}
		if err := noColon("the current folder", cwd); err != nil {
			return nil, err
		}
		j.folders = []string{cwd}
	}
	j.runner = j.folders[len(j.folders)-1]
	for _, name := range []string{"RUNNER_TRACKING_ID", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "CI_JOB_ID"} {
		j.id += a.getenv(name) + "\x00"
	}
	for _, dir := range slices.Clone(j.folders) { // the runner may call one by a link, and a step go where it leads
		if real, err := filepath.EvalSymlinks(dir); err == nil && real != "/" && noColon("", real) == nil {
			j.folders = append(j.folders, real)
		}
	}
	slices.Sort(j.folders) // an outer one before what it has in it
	j.folders = slices.CompactFunc(j.folders, func(outer, inner string) bool { return below(outer, inner) })
	return &j, nil
}

// noColon refuses a folder that --bind would take for two.
func noColon(what, dir string) error {
	if !strings.Contains(dir, ":") {
		return nil
	}
	return withHint(&flagError{fmt.Errorf("%s is %q: a folder with a colon cannot be shown inside", what, dir)}, "check out to a folder without one")
}

func below(outer, inner string) bool {
	return outer == inner || strings.HasPrefix(inner, outer+"/")
}

// shows says whether a path is the same inside.
func (j *ciJob) shows(path string) bool {
	return slices.ContainsFunc(j.folders, func(dir string) bool { return below(dir, path) })
}

func shortHash(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s)))[:12] }

func (j *ciJob) runnersPrefix() string { return "ci-" + shortHash(j.runner) + "-" }
func (j *ciJob) prefix() string        { return j.runnersPrefix() + shortHash(j.id) + "-" }

// container is the name of the container of a root.
func (j *ciJob) container(root string) string {
	if j.lock != "" {
		root += "\x00" + j.lock
	}
	return j.prefix() + shortHash(root)
}

// endOthers ends the containers of this runner whose names do not begin with keep; a runner has one job at a time.
func (j *ciJob) endOthers(dir *state.Dir, keep string) error {
	list, err := dir.List()
	if err != nil {
		return err
	}
	var failed []error
	for _, c := range list {
		if strings.HasPrefix(c.Name, j.runnersPrefix()) && (keep == "" || !strings.HasPrefix(c.Name, keep)) {
			if err := stopContainer(dir, c, 0); err != nil {
				failed = append(failed, fmt.Errorf("end %s: %w", c.Name, err))
			}
		}
	}
	return errors.Join(failed...)
}

// ciShell runs the last of words, a script, by those before it.
func (a *app) ciShell(ctx context.Context, name string, words []string) error {
	j, err := a.ciJob()
	if err != nil {
		return err
	}
	if strings.HasPrefix(name, "-") { // run would take it for a flag
		return withHint(&flagError{fmt.Errorf("ci shell: %s is no name of a root", name)}, "shell: rootctl-shell bionic {0}")
	}
	script, err := filepath.Abs(words[len(words)-1])
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find the current folder: %w", err)
	}
	real, err := filepath.EvalSymlinks(script)
	if err != nil {
		return withHint(&notFound{fmt.Errorf("ci shell %s: the script: %w", name, err)}, "shell: rootctl-shell %s {0}", name)
	}
	for _, path := range []string{script, real, cwd} {
		if !j.shows(path) {
			return withHint(&flagError{fmt.Errorf("ci shell %s: %s is in none of the folders that are shown inside: %s", name, path, strings.Join(j.folders, ", "))},
				"put it into the workspace, or into the folder of RUNNER_TEMP")
		}
	}
	dir, err := a.openState()
	if err != nil {
		return err
	}
	if err := j.endOthers(dir, j.prefix()); err != nil {
		a.warn("of an earlier job: %v", err)
	}
	c, err := findStarted(ctx, dir, j.container(name), startPatience)
	if err != nil || !c.Running {
		if err := a.startCI(j, name); err != nil || a.exit != 0 {
			return err
		}
		if c, err = findStarted(ctx, dir, j.container(name), startPatience); err != nil {
			return fmt.Errorf("ci shell %s: %w", name, err)
		}
	}
	argv := append(slices.Clone(words[:len(words)-1]), script)
	if len(words) == 1 {
		argv = []string{"sh", "-e", script}
		if inRoot(fmt.Sprintf("/proc/%d/root", c.PID), "bash") {
			argv = []string{"bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script}
		}
	}
	return a.execIn(ctx, &execFlags{workdir: cwd, env: a.ciEnv(j, os.Environ())}, j.container(name), argv)
}

// startCI makes the copy, in a container that goes with its monitor: GitHub's runner ends that one, which has the job's
// RUNNER_TRACKING_ID, with the job.
func (a *app) startCI(j *ciJob, name string) error {
	var args []string
	if a.cacheDir != "" {
		args = append(args, "--cache="+a.cacheDir)
	}
	args = append(args, "run", "--detach", "--rm", "--init", "--net=host", "--name="+j.container(name))
	for _, dir := range j.folders {
		args = append(args, "--bind="+dir)
	}
	if j.lock != "" {
		args = append(args, "--lock="+j.lock)
	}
	var out bytes.Buffer
	c := exec.Cmd{Path: "/proc/self/exe", Args: append(append([]string{"rootctl"}, args...), name, "--", "sleep", "infinity"), Stdout: &out, Stderr: a.stderr}
	if err := c.Run(); c.ProcessState == nil {
		return fmt.Errorf("ci shell %s: %w", name, err)
	}
	a.exit = c.ProcessState.ExitCode()
	return nil
}

// ciEnv is what a step's variables are inside: all but those that speak of the host. Of PATH stays what is shown inside.
func (a *app) ciEnv(j *ciJob, environ []string) []string {
	var env []string
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case name == "PATH":
			if own := slices.DeleteFunc(filepath.SplitList(value), func(dir string) bool { return !filepath.IsAbs(dir) || !j.shows(dir) }); len(own) > 0 {
				env = append(env, "PATH="+strings.Join(own, ":")+":"+strings.TrimPrefix(container.Env()[0], "PATH="))
			}
		case name == "TMPDIR" && j.shows(value):
			env = append(env, e)
		case name == "", slices.Contains(hostsVariables(), name), hasAnyPrefix(name, "LD_", "SUDO_", "XDG_", "DBUS_", "SSH_", "ROOTCTL_"):
		default:
			env = append(env, e)
		}
	}
	return env
}

func hostsVariables() []string {
	return []string{"HOME", "USER", "LOGNAME", "SHELL", "MAIL", "PWD", "OLDPWD", "TMPDIR", "TERM", "LANG", "LANGUAGE", "LC_ALL", "_", "SHLVL", "RUNNER_TRACKING_ID"}
}

func hasAnyPrefix(s string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}
