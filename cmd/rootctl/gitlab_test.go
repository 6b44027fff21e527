package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// glJob is what a job of a .gitlab-ci.yml may have here; it is read strictly.
type glJob struct {
	Parallel struct {
		Matrix []map[string][]string `yaml:"matrix"`
	} `yaml:"parallel"`
	Variables map[string]string `yaml:"variables"`
	Cache     struct {
		Key    string   `yaml:"key"`
		Paths  []string `yaml:"paths"`
		Policy string   `yaml:"policy"`
	} `yaml:"cache"`
	Rules []struct {
		If        string            `yaml:"if"`
		Variables map[string]string `yaml:"variables"`
	} `yaml:"rules"`
	Before []string `yaml:"before_script"`
	Script []string `yaml:"script"`
}

// glRunner is one whose executor is shell.
type glRunner struct {
	caches    string // a folder, with one for each key
	protected bool   // the job's branch
	project   string
	variables map[string]string
	env       map[string]string
	log       bytes.Buffer
}

var glRule = regexp.MustCompile(`^\$(\w+) == "(\w*)"$`)

// rule adds the variables of the first rule that holds.
func (r *glRunner) rule(j glJob) error {
	for _, rule := range j.Rules {
		m := glRule.FindStringSubmatch(rule.If)
		if rule.If != "" && m == nil {
			return fmt.Errorf("the condition %q is not known", rule.If)
		}
		if m == nil || r.variables[m[1]] == m[2] {
			maps.Copy(r.variables, rule.Variables)
			return nil
		}
	}
	return errors.New("no rule holds: there is no job")
}

// fill replaces variables; one that is not set is an error here.
func (r *glRunner) fill(text string) (_ string, err error) {
	return os.Expand(text, func(name string) string {
		v, ok := r.variables[name]
		if !ok {
			err = fmt.Errorf("$%s is not set", name)
		}
		return v
	}), err
}

// job restores the cache, runs the script and saves, as the policy says. Branches that are protected have a cache of their own.
func (r *glRunner) job(j glJob) error {
	maps.Copy(r.variables, j.Variables)
	if err := r.rule(j); err != nil {
		return err
	}
	for name, v := range r.variables {
		filled, err := r.fill(v)
		if err != nil {
			return err
		}
		r.variables[name] = filled
	}
	key, err1 := r.fill(j.Cache.Key)
	policy, err2 := r.fill(j.Cache.Policy)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if key += "-non_protected"; r.protected {
		key = strings.TrimSuffix(key, "-non_protected") + "-protected"
	}
	if !slices.Contains([]string{"pull", "push", "pull-push"}, policy) || len(j.Cache.Paths) != 1 || !filepath.IsLocal(j.Cache.Paths[0]) {
		return fmt.Errorf("the cache %+v with policy %q is not understood", j.Cache, policy)
	}
	file, kept := filepath.Join(r.project, j.Cache.Paths[0]), filepath.Join(r.caches, key)
	if policy != "push" {
		if err := copyIfThere(kept, file); err != nil {
			return err
		}
	}
	c := exec.Command("bash", "-c", "set -eo pipefail\n"+strings.Join(slices.Concat(j.Before, j.Script), "\n"))
	c.Dir, c.Stdout, c.Stderr = r.project, &r.log, &r.log
	for _, m := range []map[string]string{r.env, r.variables} {
		for k, v := range m {
			c.Env = append(c.Env, k+"="+v)
		}
	}
	if err := c.Run(); err != nil {
		return err
	}
	if policy != "pull" {
		return copyIfThere(file, kept)
	}
	return nil
}

func copyIfThere(from, to string) error {
	b, err := os.ReadFile(from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.WriteFile(to, b, 0o644))
}

// TestGitLab runs the job that `ci init gitlab` writes, with a cache that is kept from job to job.
func TestGitLab(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	w := newJobWorld(t)
	env, project, _ := w.machine(t)
	w.rootctl(t, env, project, "ci", "init", "gitlab", "bionic", "stretch")
	var jobs map[string]glJob
	if err := readYAML(filepath.Join(project, ".gitlab-ci.yml"), &jobs); err != nil {
		t.Fatal(err)
	}
	job := jobs["rootctl"]
	if len(jobs) != 1 || len(job.Parallel.Matrix) != 1 || strings.Join(job.Parallel.Matrix[0]["ROOT"], " ") != "bionic stretch" {
		t.Fatalf("%+v", jobs)
	}
	caches := t.TempDir()
	const mr, push = "merge_request_event", "push"
	for _, c := range []struct {
		summary, source string
		protected       bool
		how             string
		kept            int // files in the caches afterwards
		damage          bool
	}{
		{"merge request, nothing kept", mr, false, "built", 0, false},
		{"protected branch, nothing kept", push, true, "built", 1, false},
		{"protected branch, kept", push, true, "cached", 1, false},
		{"merge request reads nothing of protected branches", mr, false, "built", 1, false},
		{"branch", push, false, "built", 2, false},
		{"merge request, kept", mr, false, "cached", 2, false},
		{"damaged, and written anew", push, true, "built", 2, true},
		{"kept again", push, true, "cached", 2, false},
	} {
		t.Run(c.summary, func(t *testing.T) {
			if c.damage {
				damageAll(t, caches)
			}
			before := treeOf(t, caches)
			for _, root := range job.Parallel.Matrix[0]["ROOT"][1:] { // the other one is no different
				env, project, _ := w.machine(t)
				env["PATH"] = w.bin + ":/usr/bin:/bin"
				r := &glRunner{caches: caches, protected: c.protected, project: project, env: env, variables: map[string]string{
					"CI": "true", "GITLAB_CI": "true", "CI_PROJECT_DIR": project, "CI_PIPELINE_SOURCE": c.source, "CI_JOB_ID": "7", "ROOT": root}}
				w.server.Reset()
				if err := r.job(job); err != nil {
					t.Fatalf("%s: %v\n%s", root, err, &r.log)
				}
				if !regexp.MustCompile(`(?m)^`+root+` +`+c.how+` `).Match(r.log.Bytes()) || !strings.Contains(r.log.String(), "\n"+project+"\n") {
					t.Errorf("%s: not %s and checked:\n%s", root, c.how, &r.log)
				}
				if debs := w.server.Count("*.deb"); debs > 0 != (c.how == "built") {
					t.Errorf("%s: %d packages fetched", root, debs)
				}
				w.checkEnded(t, env)
			}
			after := treeOf(t, caches)
			if len(after) != c.kept || c.source == mr && !maps.Equal(before, after) {
				t.Errorf("the caches have %d files, want %d; unchanged: %v", len(after), c.kept, maps.Equal(before, after))
			}
		})
	}
}

func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[f] = string(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func damageAll(t *testing.T, dir string) {
	t.Helper()
	for name, body := range treeOf(t, dir) {
		b := []byte(body)
		b[len(b)/3] ^= 0x20
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
