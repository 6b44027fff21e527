package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// jobWorld is what a CI system's jobs find: three suites on a mirror, and machines that begin with nothing.
type jobWorld struct {
	server      *testarchive.Server
	config, bin string
	home        string // of the machine, anew for each job at the same path
	action      string // the folder of action.yml

	uid, gid int // of the runner's files
	id       int // who calls rootctl: root, or the runner's user
}

// newJobWorld serves small signed roots of bionic, stretch and noble. Stretch is as its archive has it: signed by a key
// that has expired since, past its Valid-Until, without by-hash or InRelease.
func newJobWorld(t *testing.T) *jobWorld {
	t.Helper()
	dir := t.TempDir()
	w := &jobWorld{config: filepath.Join(dir, "config"), bin: filepath.Join(dir, "bin"), home: filepath.Join(dir, "machine"), action: filepath.Join(dir, "action"), uid: 1234, gid: 1234}
	keys := filepath.Join(w.config, "rootctl", "suites", "keyrings")
	if err := errors.Join(os.MkdirAll(keys, 0o755), os.MkdirAll(w.bin, 0o755), os.MkdirAll(filepath.Join(w.action, "ci"), 0o755),
		os.Chmod(filepath.Dir(dir), 0o755), // for other users
		copyIfThere("../../action.yml", filepath.Join(w.action, "action.yml")), copyIfThere("../../ci/action.sh", filepath.Join(w.action, "ci", "action.sh")),
		os.Chmod(filepath.Join(w.action, "ci", "action.sh"), 0o755)); err != nil {
		t.Fatal(err)
	}
	base := testarchive.HostArchive(t, "bionic")
	base.Add(testarchive.Package{Name: "tools", Arch: "all", Fields: map[string]string{"Priority": "required", "Section": "base", "Depends": "dash"}, Files: []testarchive.File{
		{Name: "usr/bin/make", Body: "#!/bin/sh\nexec sh -e ./check.sh \"$@\"\n", Mode: 0o755}}})
	server := base.Serve(t)
	files := map[string][]byte{}
	for _, name := range []string{"bionic", "stretch", "noble"} {
		a := *base
		a.Suite, a.Codename = name, name
		family, archived := "ubuntu", "false"
		if name == "stretch" {
			family, archived = "debian", "true"
			a.Origin, a.Label, a.Release = "Debian", "Debian", map[string]string{"Suite": "oldoldstable", "Version": "9.13"}
			a.ByHash, a.NoPlain, a.NoInline = false, true, true
			a.Date, a.ValidUntil = stretchSigned, stretchSigned.AddDate(0, 0, 7)
			a.Key = testarchive.NewKeyWith(testarchive.KeyOptions{Name: "stretch", RSA: 2048, Created: stretchMade, Expires: stretchKeyEnds})
		}
		for path, body := range a.Files() {
			files[path] = body
		}
		suite := fmt.Sprintf("codename = %q\nfamily = %q\ntitle = %q\narchived = %s\nkeyrings = [%q]\n[mirrors]\ndefault = [%q]\n[rules]\nmerged = \"no\"\nstaged-variants = [\"-\", \"important\", \"standard\"]\nhttps-packages = [\"ca-certificates\"]\nroot-order-mod = 8191\n",
			name, family, name, archived, name+".gpg", server.URL)
		if err := errors.Join(os.WriteFile(filepath.Join(keys, name+".gpg"), a.Key.Public(), 0o644),
			os.WriteFile(filepath.Join(keys, "..", name+".toml"), []byte(suite), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	server.SetFiles(files, base.Date)
	w.server = server
	self := os.Getenv(programEnv)
	if self == "" {
		self = ownCopy(t)
	}
	b, err := os.ReadFile(self)
	if err := errors.Join(err, os.WriteFile(filepath.Join(w.bin, "rootctl"), b, 0o755)); err != nil { // where others can read it
		t.Fatal(err)
	}
	return w
}

// machine gives a fresh one's variables and folders, with the sources checked out.
func (w *jobWorld) machine(t *testing.T) (env map[string]string, workspace, temp string) {
	t.Helper()
	if err := os.RemoveAll(w.home); err != nil {
		t.Fatal(err)
	}
	workspace, temp = jobFolders(t, w.home, w.uid, w.gid)
	if err := os.Chown(w.home, w.id, w.id); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(workspace, "check.sh"), []byte(ciCheck), 0o644); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"HOME": w.home, "XDG_CONFIG_HOME": w.config, "ROOTCTL_CACHE": filepath.Join(w.home, "cache"),
		"ROOTCTL_STATE": filepath.Join(w.home, "state", "containers")}, workspace, temp
}

// ciCheck is the project's `make check`.
const ciCheck = `pwd
echo checked >>made
[ -z "$GITHUB_ENV" ] || echo CHECKED=yes >>$GITHUB_ENV
[ -z "$GITHUB_STEP_SUMMARY" ] || echo "checked by the job" >>$GITHUB_STEP_SUMMARY
`

func (w *jobWorld) rootctl(t *testing.T, env map[string]string, dir string, args ...string) string {
	t.Helper()
	c := exec.Command(filepath.Join(w.bin, "rootctl"), args...)
	c.Dir, c.Env = dir, []string{"PATH=/usr/bin:/bin"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(w.id), Gid: uint32(w.id)}}
	for k, v := range env {
		c.Env = append(c.Env, k+"="+v)
	}
	out, errs, code := outcome(t, c)
	if code != 0 {
		t.Fatalf("%q: code %d\n%s%s", args, code, out, errs)
	}
	return out
}

// checkEnded waits until no container is left of a job; the end of one that its runner ended takes its keeper a moment.
func (w *jobWorld) checkEnded(t *testing.T, env map[string]string) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out := w.rootctl(t, env, w.home, "ps", "-a")
		left, err := os.ReadDir(filepath.Join(w.home, "cache", "tmp"))
		if !strings.Contains(out, " ci-") && err == nil && len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("left behind: %q, %v, %v", out, left, err)
		}
	}
}

var ciTrackingIDs int // a number for each job, for they run one after the other

// runner gives one on a fresh machine.
func (w *jobWorld) runner(t *testing.T, cache *ghCache, event string) *ghRunner {
	t.Helper()
	env, workspace, temp := w.machine(t)
	ciTrackingIDs++
	w.server.Reset()
	r := &ghRunner{actions: map[string]string{"rootctl/rootctl": w.action}, workspace: workspace, temp: temp, service: cache.URL, event: event,
		id: fmt.Sprintf("github_%d_%d", os.Getpid(), ciTrackingIDs), env: env, path: []string{w.bin, "/usr/sbin", "/usr/bin", "/sbin", "/bin"}}
	t.Cleanup(func() { _ = (&ghRunner{id: r.id}).endProcesses() }) // of a test that failed
	return r
}

// run does a job on a fresh machine.
func (w *jobWorld) run(t *testing.T, cache *ghCache, event string, j ghJob, matrix map[string]string) (*ghRunner, map[string]map[string]string) {
	t.Helper()
	r := w.runner(t, cache, event)
	env := maps.Clone(r.env)
	outputs, err := r.job(j, matrix)
	if err != nil || r.failed {
		t.Fatalf("the job failed: %v\n%s", err, &r.log)
	}
	w.checkEnded(t, env)
	return r, outputs
}

// githubJob is the one that `ci init github` writes.
func (w *jobWorld) githubJob(t *testing.T, roots ...string) ghJob {
	t.Helper()
	env, workspace, _ := w.machine(t)
	if err := os.Chown(workspace, w.id, w.id); err != nil {
		t.Fatal(err)
	}
	w.rootctl(t, env, workspace, append([]string{"ci", "init", "github"}, roots...)...)
	var flow ghWorkflow
	if err := readYAML(filepath.Join(workspace, ".github", "workflows", "rootctl.yml"), &flow); err != nil {
		t.Fatal(err)
	}
	job, ok := flow.Jobs["check"]
	if got := job.Strategy.Matrix["root"]; !ok || !slices.Equal(got, roots) || strings.Join(flow.On, " ") != "push pull_request" {
		t.Fatalf("%+v", flow)
	}
	return job
}

// TestGitHubAction runs the workflow that `ci init github` writes, and action.yml in it, for three suites.
func TestGitHubAction(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	w := newJobWorld(t)
	job := w.githubJob(t, "bionic", "stretch", "noble")
	cache := newGHCache(t)
	digests := map[string]string{}
	for _, c := range []struct {
		summary, event, how, hit string
		debs                     bool // whether packages are fetched
		entries, tries           int  // in the cache afterwards; how often a job tried to write one
		before                   func()
	}{
		{"fork, nothing kept", "pull_request", "built", "false", true, 0, 0, nil},
		{"miss", "push", "built", "false", true, 3, 3, nil},
		{"hit", "push", "cached", "true", false, 3, 0, nil},
		{"fork", "pull_request", "cached", "true", false, 3, 0, nil},
		{"cut archive", "push", "built", "true", true, 3, 0, func() { cache.damage(func(b []byte) []byte { return b[:len(b)/2] }) }},
		{"changed byte", "push", "built", "true", true, 3, 0, func() { cache.damage(func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) }},
	} {
		t.Run(c.summary, func(t *testing.T) {
			if c.before != nil {
				c.before()
			}
			_, tries := cache.count()
			for _, root := range job.Strategy.Matrix["root"] {
				r, steps := w.run(t, cache, c.event, job, map[string]string{"root": root})
				out := steps["__1"] // of the action
				summary := regexp.MustCompile(`(?m)^\| ` + root + ` \| (\w+) \| sha256:([0-9a-f]{64}) \| \d+ \|$`).FindSubmatch(r.summary)
				switch debs := w.server.Count("pool/*") + w.server.Count("*.deb"); {
				case summary == nil || string(summary[1]) != c.how || !strings.HasSuffix(string(r.summary), "checked by the job\n"):
					t.Errorf("%s: the summary is\n%s\n%s", root, r.summary, &r.log)
				case out["cache-hit"] != c.hit || out["digest"] != "sha256:"+string(summary[2]) || !strings.HasPrefix(out["key"], "rootctl-") || (out["restore-ms"] != "0") != (c.how == "cached"):
					t.Errorf("%s: outputs %q\n%s", root, out, &r.log)
				case debs > 0 != c.debs:
					t.Errorf("%s: %d packages fetched: %v", root, debs, w.server.Requests())
				case c.how == "cached" && (w.server.Count("*Packages*") > 0 || len(w.server.Requests()) > 6): // Release and Release.gpg where InRelease is missing
					t.Errorf("%s: a hit asks for the Release, for the key and by ensure: %v", root, w.server.Requests())
				case c.how == "cached" && root != "stretch" && w.server.Requests()[1].Status != http.StatusNotModified:
					t.Errorf("%s: the second time it has not changed: %v", root, w.server.Requests())
				case r.env["CHECKED"] != "yes" || !strings.Contains(r.log.String(), "\n"+r.workspace+"\n"):
					t.Errorf("%s: variables %q\n%s", root, r.env, &r.log)
				case digests[root] != "" && digests[root] != out["digest"]:
					t.Errorf("%s: digest %s, before %s", root, out["digest"], digests[root])
				}
				digests[root] = out["digest"]
			}
			if n, all := cache.count(); n != c.entries || all-tries != c.tries {
				t.Errorf("the cache has %d entries after %d tries to write one, want %d and %d", n, all-tries, c.entries, c.tries)
			}
		})
	}
}

// TestGitHubLock: with a lock file a hit asks the archive nothing, nor does a step's shell.
func TestGitHubLock(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	w := newJobWorld(t)
	job := w.githubJob(t, "bionic").with(map[string]string{"flags": "--lock sub/roots.lock"})
	env, workspace, _ := w.machine(t)
	w.rootctl(t, env, workspace, "lock", "-o", "roots.lock", "bionic", "noble")
	lock, err := os.ReadFile(filepath.Join(workspace, "roots.lock"))
	if err != nil {
		t.Fatal(err)
	}
	cache := newGHCache(t)
	for _, how := range []string{"built", "cached"} {
		r := w.runner(t, cache, "push")
		if err := errors.Join(os.Mkdir(filepath.Join(r.workspace, "sub"), 0o755), os.WriteFile(filepath.Join(r.workspace, "sub", "roots.lock"), lock, 0o644)); err != nil {
			t.Fatal(err)
		}
		env := maps.Clone(r.env)
		outputs, err := r.job(job, map[string]string{"root": "bionic"})
		if err != nil || r.failed || !strings.Contains(string(r.summary), " | "+how+" | "+outputs["__1"]["digest"]) || !strings.HasSuffix(string(r.summary), "checked by the job\n") {
			t.Fatalf("%v\n%s\n%s", err, r.summary, &r.log)
		}
		asked := w.server.Requests()
		for _, a := range asked {
			if !strings.HasSuffix(a.Path, ".deb") {
				t.Errorf("%s: asked for %s", how, a.Path)
			}
		}
		if len(asked) > 0 != (how == "built") {
			t.Errorf("%s: asked for %v\n%s", how, asked, &r.log)
		}
		w.checkEnded(t, env)
	}
}
