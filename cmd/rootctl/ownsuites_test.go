package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestDocumentedSuitesBuild does with the suite files of docs/suites.md what a user does: puts them and a
// keyring where the page says, with another mirror, and builds.
func TestDocumentedSuitesBuild(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	page, err := os.ReadFile("../../docs/suites.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, called, mirror, keys, pockets, sources string }{
		{"kali-rolling", "kali", "http://http.kali.org/kali", "kali-archive-keyring.gpg", "", "deb http://http.kali.org/kali kali-rolling main\n"},
		{"excalibur", "excalibur-apt", "http://pkgmaster.devuan.org/merged", "devuan-archive-keyring.gpg", "updates,security",
			"deb http://pkgmaster.devuan.org/merged excalibur main\ndeb http://pkgmaster.devuan.org/merged excalibur-updates main\ndeb http://pkgmaster.devuan.org/merged excalibur-security main\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, file, ok := strings.Cut(string(page), "```toml\ncodename = \""+c.name+"\"\n")
			file, _, _ = strings.Cut(file, "```")
			if !ok || !strings.Contains(file, c.mirror) {
				t.Fatalf("the page does not show %s at %s", c.name, c.mirror)
			}
			a := testarchive.HostArchive(t, c.name)
			files := a.Files()
			for _, pocket := range []string{"-updates", "-security"} {
				p := testarchive.New(c.name + pocket)
				p.Codename, p.Key, p.Arches = p.Suite, a.Key, a.Arches
				maps.Copy(files, p.Files())
			}
			server := a.Serve(t)
			server.SetFiles(files, a.Date)
			home := t.TempDir()
			folder := filepath.Join(home, ".config", "rootctl", "suites")
			if err := os.MkdirAll(filepath.Join(folder, "keyrings"), 0o755); err != nil {
				t.Fatal(err)
			}
			for name, body := range map[string]string{c.name + ".toml": "codename = \"" + c.name + "\"\n" + file, "keyrings/" + c.keys: string(a.Keyring())} {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(body), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			rootctl := func(args ...string) string {
				cmd := exec.Command(ownCopy(t), append([]string{"--cache", filepath.Join(home, "cache")}, args...)...)
				cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME=")
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%q: %v\n%s", args, err, out)
				}
				return string(out)
			}
			if out := rootctl("suites"); !strings.Contains(out, "\n"+c.name+" ") {
				t.Errorf("not listed:\n%s", out)
			}
			args := []string{"build", "--mirror", server.URL, "--only-mirror", "--tag", "own", c.called}
			if c.pockets != "" {
				args = append(args, "--pocket", c.pockets)
			}
			rootctl(args...)
			list := rootctl("run", "-q", "own", "cat", "/etc/apt/sources.list")
			if list != c.sources {
				t.Errorf("sources.list:\n%swant:\n%s", list, c.sources)
			}
			// The family's mirrors are not asked for a suite of other keys.
			own := "codename = \"" + c.name + "\"\n" + strings.Replace(file, c.mirror, server.URL, 1)
			if err := errors.Join(os.WriteFile(filepath.Join(folder, c.name+".toml"), []byte(own), 0o644),
				os.WriteFile(filepath.Join(folder, "..", "config.toml"), []byte("[mirrors]\ndebian = [\"http://127.0.0.1:1/debian\"]\n"), 0o644)); err != nil {
				t.Fatal(err)
			}
			if out := rootctl("build", "--tag", "own", c.called); strings.Contains(out, "127.0.0.1:1/") || !strings.Contains(out, "from "+server.URL) {
				t.Errorf("asked elsewhere:\n%s", out)
			}
		})
	}
}
