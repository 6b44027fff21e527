//go:build e2e_examples

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/recipe"
)

// These build what docs/examples has from the real archives: `make e2e`.

// exampleFacts are what must hold inside the roots, by root.
var exampleFacts = map[string]string{
	"bionic-build":     `cd /tmp; echo 'int main(){return 0;}' >x.c; gcc -o x x.c; ./x; grep -q bionic /etc/os-release`,
	"bookworm-tool":    `test "$(dpkg-query -Wf '${Version}' tool)" = 1.2; ! dpkg-query -W unwanted; hello; test -s /etc/apt/keyrings/tools.asc; dpkg --compare-versions "$(dpkg-query -Wf '${Version}' dpkg)" lt 2`,
	"noble-hooks":      `test "$(stat -c %U:%G /work)" = builder:builders; test "$(id -u builder)" = 1500; cat /etc/dpkg/dpkg.cfg.d/unsafe-io`,
	"jammy-base":       `make --version; ! dpkg-query -W git`,
	"jammy-git":        `make --version; git --version; dpkg --audit`,
	"jammy-python":     `grep 3.10 /etc/python-version`,
	"trixie-files":     `. /etc/profile.d/project.sh; test "$PROJECT" = example; test "$(stat -c %a:%U:%G /etc/project/token)" = 640:root:daemon`,
	"trixie-debhelper": `test -x /usr/bin/dh; gcc --version; ! dpkg-query -W tzdata`,
	"noble-updated":    `tini --version`,
	"old":              `grep 'ubuntu 16.04' /etc/project-release`,
	"lts":              `grep 'ubuntu 24.04' /etc/project-release`,
	"current":          `grep 'debian 12' /etc/project-release`,
	"jammy-network":    `test "$(echo 6*7 | bc)" = 42; ! ls /var/lib/apt/lists/*_Packages`,
	"project-web":      `test -d /etc/ssl/certs`,
}

func TestE2EExamples(t *testing.T) {
	t.Setenv("ROOTCTL_E2E", "1")
	r := newReal(t)
	files, err := filepath.Glob("../../docs/examples/*/rootctl.toml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	self, err := filepath.Abs("../../docs/examples")
	if err != nil {
		t.Fatal(err)
	}
	examples := filepath.Join(t.TempDir(), "examples")
	if out, err := exec.Command("cp", "-r", self, examples).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	tools := toolsEnv(t, hostArch())
	source := filepath.Join(examples, "bookworm-source")
	sh := `sed -i "s,http://apt.example.org/debian,$TOOLS," rootctl.toml; cp "$TOOLS_KEY" tools.asc`
	c := exec.Command("sh", "-ec", sh)
	c.Dir, c.Env = source, append(os.Environ(), "TOOLS="+tools["TOOLS"], "TOOLS_KEY="+tools["TOOLS_KEY"])
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	seen, ran := map[string]bool{}, 0
	for _, f := range files {
		name := filepath.Base(filepath.Dir(f))
		t.Run(name, func(t *testing.T) {
			ran++
			r.example(t, filepath.Join(examples, name, recipe.DefaultName), seen)
		})
	}
	if ran == len(files) && len(seen) != len(exampleFacts) {
		t.Errorf("%d roots were looked into, %d are known", len(seen), len(exampleFacts))
	}
}

// example builds a recipe's roots and looks into each.
func (r *real) example(t *testing.T, file string, seen map[string]bool) {
	out, errs, code := r.rootctl(t, "build", "--json", "--file", file)
	if code == codeNotFound && strings.Contains(errs+out, "no usable mirror") {
		t.Skipf("needs archive: no mirror answers: %s", errs)
	}
	var built []buildReport
	if err := json.Unmarshal([]byte(out), &built); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v\n%s%s", code, err, out, errs)
	}
	for _, b := range built {
		fact, ok := exampleFacts[b.Name]
		if !ok {
			t.Errorf("nothing is known of root %s", b.Name)
			continue
		}
		seen[b.Name] = true
		r.must(t, "run", "--file", file, "--net=none", b.Name, "--", "/bin/sh", "-ec", fact)
		if again := r.buildSuite(t, "--file", file, b.Name); !again.Cached || again.Digest != b.Digest {
			t.Errorf("%s again: %+v", b.Name, again)
		}
		t.Logf("%s: %s, %d packages, %.1f s of configuring", b.Name, b.Digest[:19], b.Packages, b.Seconds["configure"])
	}
}
