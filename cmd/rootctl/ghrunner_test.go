package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"
)

// What a workflow and a composite action may have here. They are read strictly: what the runner would pass over is an
// error.
type (
	ghWorkflow struct {
		Name        string            `yaml:"name"`
		On          []string          `yaml:"on"`
		Permissions map[string]string `yaml:"permissions"`
		Jobs        map[string]ghJob  `yaml:"jobs"`
	}
	ghJob struct {
		RunsOn   string `yaml:"runs-on"`
		Strategy struct {
			FailFast bool                `yaml:"fail-fast"`
			Matrix   map[string][]string `yaml:"matrix"`
		} `yaml:"strategy"`
		Defaults struct {
			Run struct {
				Shell string `yaml:"shell"`
			} `yaml:"run"`
		} `yaml:"defaults"`
		Steps []ghStep `yaml:"steps"`
	}
	ghStep struct {
		ID    string            `yaml:"id"`
		Name  string            `yaml:"name"`
		If    string            `yaml:"if"`
		Uses  string            `yaml:"uses"`
		With  map[string]string `yaml:"with"`
		Run   string            `yaml:"run"`
		Shell string            `yaml:"shell"`
		Env   map[string]string `yaml:"env"`
	}
	ghAction struct {
		Name        string             `yaml:"name"`
		Description string             `yaml:"description"`
		Inputs      map[string]ghInput `yaml:"inputs"`
		Outputs     map[string]struct {
			Description string `yaml:"description"`
			Value       string `yaml:"value"`
		} `yaml:"outputs"`
		Runs struct {
			Using string   `yaml:"using"`
			Steps []ghStep `yaml:"steps"`
		} `yaml:"runs"`
	}
	ghInput struct {
		Description string `yaml:"description"`
		Required    bool   `yaml:"required"`
		Default     string `yaml:"default"`
	}
)

func readYAML(file string, into any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return yaml.UnmarshalWithOptions(b, into, yaml.Strict())
}

// ghRunner is a machine that does the steps of a job in their order.
type ghRunner struct {
	actions             map[string]string // folders of actions, by owner/name
	workspace, temp, id string
	shell               string   // of a job's steps that name none
	as                  []string // words before a command that make it another user's; nil: root does all
	service             string   // of the cache
	event               string
	env                 map[string]string
	path                []string
	failed              bool
	posts               []func() error // done in the opposite order
	log                 bytes.Buffer
	summary             []byte
	count               int
	took                map[string]time.Duration // by the step's name, else by what it runs or uses
}

// job runs one job of the matrix. The error is of what this runner does not know, or of a runner's own work.
func (r *ghRunner) job(j ghJob, matrix map[string]string) (map[string]map[string]string, error) {
	scope := &ghScope{values: map[string]string{"github.event_name": r.event}, steps: map[string]map[string]string{}, failed: &r.failed}
	for k, v := range matrix {
		scope.values["matrix."+k] = v
	}
	shell, err := scope.fill(j.Defaults.Run.Shell)
	if err != nil {
		return nil, err
	}
	r.shell = shell
	err = r.steps(j.Steps, scope, nil)
	slices.Reverse(r.posts)
	for _, post := range r.posts {
		err = errors.Join(err, post())
	}
	return scope.steps, errors.Join(err, r.endProcesses())
}

// steps runs those of a job, or of a composite action, whose variables are own.
func (r *ghRunner) steps(steps []ghStep, scope *ghScope, own map[string]string) error {
	for i, s := range steps {
		if s.ID == "" {
			s.ID = fmt.Sprintf("__%d", i)
		}
		outputs := map[string]string{}
		runs, err := scope.holds(s.If)
		if err == nil && runs {
			start := time.Now()
			err = r.step(s, scope, own, outputs)
			if r.took == nil {
				r.took = map[string]time.Duration{}
			}
			r.took[cmp.Or(s.Name, s.Run, s.Uses)] = time.Since(start)
		}
		scope.steps[s.ID] = outputs
		if err != nil {
			return fmt.Errorf("step %s %s: %w", s.ID, s.Name, err)
		}
	}
	return nil
}

func (r *ghRunner) step(s ghStep, scope *ghScope, own, outputs map[string]string) error {
	env, err := scope.fillAll(s.Env)
	if err != nil {
		return err
	}
	if s.Uses != "" && s.Run == "" && s.Shell == "" {
		with, err := scope.fillAll(s.With)
		if err != nil {
			return err
		}
		return r.uses(s.Uses, with, outputs)
	}
	script, err := scope.fill(s.Run)
	if err != nil {
		return err
	}
	shell := s.Shell
	if strings.Contains(shell, "${{") {
		return fmt.Errorf("shell: %s: a step's shell may have no expression", shell)
	}
	if shell == "" && own == nil { // an action's steps have shells of their own
		shell = r.shell
	}
	if s.Uses != "" || s.With != nil || script == "" || own != nil && shell == "" {
		return errors.New("it is neither a call of an action nor a script with a shell")
	}
	maps.Copy(env, own)
	return r.script(script, shell, env, outputs)
}

func (s *ghScope) fillAll(m map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for k, v := range m {
		filled, err := s.fill(v)
		if err != nil {
			return nil, err
		}
		out[k] = filled
	}
	return out, nil
}

// uses runs an action by its name: the cache's are done here, as is the checkout, whose files are there.
func (r *ghRunner) uses(action string, with, outputs map[string]string) error {
	name, version, ok := strings.Cut(action, "@")
	if !ok || version == "" {
		return fmt.Errorf("%s has no version", action)
	}
	switch name {
	case "actions/checkout":
		r.posts = append(r.posts, func() error { fmt.Fprintln(&r.log, "post: checkout"); return nil })
		return nil
	case "actions/cache/restore", "actions/cache/save", "actions/cache":
		c, err := newGHCacheStep(r.service, with)
		if err != nil {
			return err
		}
		if name == "actions/cache/save" {
			return c.save()
		}
		out, err := c.restore()
		maps.Copy(outputs, out)
		if name == "actions/cache" {
			r.posts = append(r.posts, func() error {
				fmt.Fprintln(&r.log, "post: cache")
				if r.failed || out["cache-hit"] == "true" {
					return nil
				}
				return c.save()
			})
		}
		return err
	}
	dir, ok := r.actions[name]
	if !ok {
		return fmt.Errorf("the action %s is not known", name)
	}
	return r.composite(dir, with, outputs)
}

func (r *ghRunner) composite(dir string, with, outputs map[string]string) error {
	var a ghAction
	if err := readYAML(filepath.Join(dir, "action.yml"), &a); err != nil {
		return err
	}
	if a.Runs.Using != "composite" {
		return fmt.Errorf("it uses %q", a.Runs.Using)
	}
	inner := &ghScope{values: map[string]string{"github.event_name": r.event}, steps: map[string]map[string]string{}, failed: &r.failed}
	for name, in := range a.Inputs {
		v, given := with[name]
		if !given {
			v = in.Default
		}
		if v == "" && in.Required {
			return fmt.Errorf("the input %s is missing", name)
		}
		inner.values["inputs."+name] = v
	}
	for name := range with {
		if _, ok := a.Inputs[name]; !ok {
			return fmt.Errorf("there is no input %s", name)
		}
	}
	if err := r.steps(a.Runs.Steps, inner, map[string]string{"GITHUB_ACTION_PATH": dir}); err != nil {
		return err
	}
	for name, out := range a.Outputs {
		v, err := inner.fill(out.Value)
		if err != nil {
			return err
		}
		outputs[name] = v
	}
	return nil
}

// script has a shell run one, and reads what it wrote for the next steps.
func (r *ghRunner) script(text, shell string, own, outputs map[string]string) error {
	r.count++
	file := filepath.Join(r.temp, fmt.Sprintf("step-%d.sh", r.count))
	commands := filepath.Join(r.temp, "_runner_file_commands")
	if err := errors.Join(os.MkdirAll(commands, 0o755), r.write(file, text+"\n")); err != nil {
		return err
	}
	env := maps.Clone(r.env)
	maps.Copy(env, map[string]string{"PATH": strings.Join(r.path, ":"), "GITHUB_ACTIONS": "true", "CI": "true", "GITHUB_EVENT_NAME": r.event,
		"GITHUB_WORKSPACE": r.workspace, "RUNNER_TEMP": r.temp, "RUNNER_TRACKING_ID": r.id})
	maps.Copy(env, own)
	for _, name := range []string{"ENV", "OUTPUT", "PATH", "STEP_SUMMARY"} {
		env["GITHUB_"+name] = filepath.Join(commands, fmt.Sprintf("%s-%d", strings.ToLower(name), r.count))
		if err := r.write(env["GITHUB_"+name], ""); err != nil {
			return err
		}
	}
	words := []string{"bash", "-e", file}
	switch {
	case shell == "bash":
		words = []string{"bash", "--noprofile", "--norc", "-eo", "pipefail", file}
	case strings.Contains(shell, "{0}"):
		words = strings.Fields(strings.ReplaceAll(shell, "{0}", file))
	case shell != "":
		return fmt.Errorf("the shell %q is not known", shell)
	}
	program := slices.IndexFunc(r.path, func(dir string) bool {
		st, err := os.Stat(filepath.Join(dir, words[0]))
		return err == nil && st.Mode()&0o111 != 0 && !st.IsDir()
	})
	if program < 0 {
		return fmt.Errorf("%s is not on PATH", words[0])
	}
	c := exec.Cmd{Path: filepath.Join(r.path[program], words[0]), Args: words, Dir: r.workspace, Stdout: &r.log, Stderr: &r.log}
	if r.as != nil {
		c.Path, c.Args = r.as[0], slices.Concat(r.as, []string{"sh", "-c", `cd "$0" && exec "$@"`, r.workspace, c.Path}, words[1:])
	}
	for k, v := range env {
		c.Env = append(c.Env, k+"="+v)
	}
	fmt.Fprintf(&r.log, "# %s\n", strings.SplitN(strings.TrimSpace(text), "\n", 2)[0])
	if err := c.Run(); err != nil {
		fmt.Fprintf(&r.log, "# %v\n", err)
		r.failed = true
	}
	return r.readCommands(env, outputs)
}

// write makes a file of the runner's user, who has its folder.
func (r *ghRunner) write(file, text string) error {
	var st syscall.Stat_t
	if err := errors.Join(syscall.Stat(r.temp, &st), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		return err
	}
	return os.Chown(file, int(st.Uid), int(st.Gid))
}

func (r *ghRunner) readCommands(env, outputs map[string]string) error {
	var texts [4]string
	for i, name := range []string{"ENV", "OUTPUT", "PATH", "STEP_SUMMARY"} {
		b, err := os.ReadFile(env["GITHUB_"+name])
		if err != nil {
			return err
		}
		texts[i] = string(b)
	}
	for line := range strings.Lines(texts[2]) {
		r.path = append([]string{strings.TrimSpace(line)}, r.path...)
	}
	r.summary = append(r.summary, texts[3]...)
	return errors.Join(ghAssign(texts[0], r.env), ghAssign(texts[1], outputs))
}

// ghAssign reads NAME=VALUE, and NAME<<END with lines up to END.
func ghAssign(text string, into map[string]string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		equal, here := strings.IndexByte(lines[i], '='), strings.Index(lines[i], "<<")
		switch {
		case lines[i] == "":
		case equal >= 0 && (here < 0 || equal < here):
			into[lines[i][:equal]] = lines[i][equal+1:]
		case here > 0:
			n := slices.Index(lines[i+1:], lines[i][here+2:])
			if n < 0 {
				return fmt.Errorf("%q has no end", lines[i])
			}
			into[lines[i][:here]] = strings.Join(lines[i+1:i+1+n], "\n")
			i += n + 1
		default:
			return fmt.Errorf("%q is no assignment", lines[i])
		}
	}
	return nil
}

// endProcesses ends what the job has left, as GitHub's runner does: what has its RUNNER_TRACKING_ID, as far as the runner's
// user can see and end it.
func (r *ghRunner) endProcesses() error {
	words := append(slices.Clone(r.as), "sh", "-c", `for p in $(grep -lzxF "RUNNER_TRACKING_ID=$0" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
		[ $p = $$ ] || kill -9 $p; done; true`, r.id)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	r.log.Write(out)
	return nil
}
