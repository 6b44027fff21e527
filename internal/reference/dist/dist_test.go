package main

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDistTwice makes the distribution of one architecture in two folders, under another umask, time zone, language and
// state of version control: the bytes are the same, no path is in them, and the package is one that dpkg takes. The program
// is another machine's, and says under qemu who it is.
func TestDistTwice(t *testing.T) {
	const epoch = "1700000000"
	one, two := sources(t), sources(t)
	tell(t, two, "git", "init", "-q")
	tell(t, two, "git", "add", "Makefile")
	tell(t, two, "git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "other")
	for dir, env := range map[string]string{
		one: "umask 022; export TZ=UTC LC_ALL=C",
		two: "umask 077; export TZ=Pacific/Chatham LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH= GOFLAGS=-buildvcs=true GOARM64=v8.1",
	} {
		tell(t, dir, "sh", "-c", env+`; exec make -s dist ARCHES=arm64 VERSION=1.2.3 REVISION=0123456789ab EPOCH=`+epoch)
	}
	dist := filepath.Join(one, "dist")
	sums := read(t, filepath.Join(dist, "SHA256SUMS"))
	if other := read(t, filepath.Join(two, "dist/SHA256SUMS")); !bytes.Equal(sums, other) {
		t.Errorf("two folders, two results:\n%s\n%s", sums, other)
	}
	tell(t, dist, "sha256sum", "--quiet", "-c", "SHA256SUMS")
	program := filepath.Join(dist, "rootctl-linux-arm64")
	for _, path := range []string{one, two, "/go/pkg/mod/"} {
		if bytes.Contains(read(t, program), []byte(path)) {
			t.Errorf("the program has %s in it", path)
		}
	}
	isStatic(t, program)
	var v struct {
		Version, Revision, Arch string
		Epoch                   json.Number `json:"build_epoch"`
	}
	if err := json.Unmarshal([]byte(tell(t, dist, "qemu-aarch64-static", program, "version", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.Version != "1.2.3" || v.Revision != "0123456789ab" || v.Arch != "arm64" || v.Epoch != epoch {
		t.Errorf("version: %+v", v)
	}
	checkPackage(t, filepath.Join(dist, "rootctl_1.2.3_arm64.deb"))
}

// checkPackage looks at a package with dpkg's own eyes.
func checkPackage(t *testing.T, deb string) {
	t.Helper()
	if got := tell(t, ".", "dpkg-deb", "--showformat", "${Package} ${Version} ${Architecture}", "--show", deb); got != "rootctl 1.2.3 arm64" {
		t.Errorf("dpkg-deb: %s", got)
	}
	list := tell(t, ".", "dpkg-deb", "--contents", deb)
	for line := range strings.Lines(list) {
		if !strings.Contains(line, " root/root ") || !strings.Contains(line, " 2023-11-14 22:13 ") {
			t.Errorf("owner or time: %s", line)
		}
	}
	for _, want := range []string{
		"-rwxr-xr-x root/root", "./usr/bin/rootctl\n", "./usr/bin/rootctl-shell -> rootctl\n", "./usr/share/man/man1/rootctl-shell.1.gz -> rootctl-ci-shell.1.gz\n",
		"./usr/share/man/man1/rootctl.1.gz\n", "./usr/share/man/man1/rootctl-run.1.gz\n",
		"./usr/share/man/man1/rootctl-cache-gc.1.gz\n", "./usr/share/bash-completion/completions/rootctl\n", "./usr/share/zsh/vendor-completions/_rootctl\n",
		"./usr/share/fish/vendor_completions.d/rootctl.fish\n", "./usr/share/doc/rootctl/copyright\n", "./usr/share/doc/rootctl/changelog.gz\n",
	} {
		if !strings.Contains(list, want) {
			t.Errorf("the package lacks %q:\n%s", want, list)
		}
	}
	tree, control := t.TempDir(), t.TempDir()
	tell(t, ".", "dpkg-deb", "--extract", deb, tree)
	tell(t, ".", "dpkg-deb", "--control", deb, control)
	tell(t, tree, "md5sum", "--quiet", "-c", filepath.Join(control, "md5sums"))
	listed := len(strings.Split(strings.TrimSpace(string(read(t, filepath.Join(control, "md5sums")))), "\n"))
	found := 0
	err := filepath.WalkDir(tree, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			found++
		}
		return err
	})
	if err != nil || listed != found {
		t.Errorf("md5sums lists %d files, the package has %d (%v)", listed, found, err)
	}
	entry := tell(t, ".", "zcat", filepath.Join(tree, "usr/share/doc/rootctl/changelog.gz"))
	if !strings.HasPrefix(entry, "rootctl (1.2.3) unstable; urgency=medium\n") || !strings.HasSuffix(entry, ">  Tue, 14 Nov 2023 22:13:20 +0000\n") {
		t.Errorf("changelog: %s", entry)
	}
	notices := tell(t, ".", "zcat", filepath.Join(tree, "usr/share/doc/rootctl/third-party.gz"))
	for _, want := range []string{"github.com/spf13/cobra v", "golang.org/x/sys v", "Go 1."} {
		if !strings.Contains(notices, "\n"+want) && !strings.HasPrefix(notices, want) {
			t.Errorf("no licence of %s", want)
		}
	}
}

func isStatic(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: %v", p.Type)
		}
	}
}

// TestPackageRefused: what dpkg would not take is not packed.
func TestPackageRefused(t *testing.T) {
	for _, version := range []string{"", "v1", "1.0-1", "1 0", "1:0", "1_0", "1\n0"} {
		if _, err := (&product{version: version, arch: "amd64", program: "p", manual: "m"}).deb(); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// sources copies this module, without what version control does not know.
func sources(t *testing.T) string {
	t.Helper()
	dir, top := t.TempDir(), filepath.Join("..", "..", "..")
	for _, name := range []string{"ci", "cmd", "internal", "suites"} {
		if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(top, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "Makefile"} {
		if err := os.WriteFile(filepath.Join(dir, name), read(t, filepath.Join(top, name)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tell runs a program in dir and returns what it says.
func tell(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Dir = dir
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}
