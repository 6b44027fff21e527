package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// build --userns=host runs signed scripts without a user namespace, and makes the same root.
func TestBuildUserNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	caches := map[string]string{"own": filepath.Join(t.TempDir(), "own"), "host": filepath.Join(t.TempDir(), "host")}
	digests := map[string]string{}
	for users, dir := range caches {
		args := f.args
		f.args = append([]string{"build", "--userns=" + users}, args[1:]...)
		digests[users] = f.build(t, dir)
		f.args = args
	}
	if digests["own"] != digests["host"] {
		t.Errorf("digests %v", digests)
	}
	// Only a script that tells what it sees makes another root.
	a := testarchive.HostArchive(t, "bionic").Add(testarchive.Package{Name: "teller", Arch: "all",
		Scripts: map[string]string{"postinst": "#!/bin/sh\nset -e\nread -r inside outside count </proc/self/uid_map\n" +
			"[ ! -e /dev/sda ]\necho \"$inside $outside\" >/etc/told\n"}})
	server := a.Serve(t)
	key := filepath.Join(t.TempDir(), "key.gpg")
	if err := os.WriteFile(key, a.Keyring(), 0o644); err != nil {
		t.Fatal(err)
	}
	for users, dir := range caches {
		out, err := f.command(dir, "build", "-q", "--userns="+users, "--mirror", server.URL, "--only-mirror", "--keyring", key,
			"--include", "teller", "--tag", "told", "bionic").CombinedOutput()
		if err != nil {
			t.Fatalf("--userns=%s: %v\n%s", users, err, out)
		}
		told, err := f.command(dir, "run", "-q", "--no-build", "told", "cat", "/etc/told").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, told)
		}
		if got := strings.TrimSpace(string(told)); (got == "0 0") != (users == "host") {
			t.Errorf("--userns=%s: root inside is %q", users, got)
		}
	}
}
