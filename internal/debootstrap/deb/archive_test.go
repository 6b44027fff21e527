package deb

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/suites"
)

// TestArchives reads real packages of every age whole, as dpkg-deb does: from the host's own
// archive, and from Ubuntu's.
func TestArchives(t *testing.T) {
	if os.Getenv("ROOTCTL_E2E") != "1" {
		t.Skip("needs the network: set ROOTCTL_E2E=1")
	}
	need(t, "dpkg-deb")
	names := []string{"libc6", "bash", "coreutils", "debconf", "tzdata", "perl-base", "base-files", "dpkg"}
	var pool Pool
	t.Run("host", func(t *testing.T) {
		need(t, "apt-get")
		dir := t.TempDir()
		cmd := exec.Command("apt-get", append([]string{"download", "-o", "APT::Sandbox::User=root"}, names...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
		if len(files) != len(names) {
			t.Fatal(files)
		}
		for _, path := range files {
			compareWithDpkg(t, &pool, path)
		}
	})
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	ubuntu, err := set.Lookup("bionic")
	if err != nil {
		t.Fatal(err)
	}
	mirror := strings.TrimSuffix(ubuntu.MirrorsFor("amd64")[0], "/")
	for _, suite := range []string{"xenial", "bionic", "focal", "jammy", "noble", "resolute"} {
		t.Run(suite, func(t *testing.T) {
			need(t, "curl")
			dir := t.TempDir()
			packed := run(t, nil, "curl", "-fsS", mirror+"/dists/"+suite+"/main/binary-amd64/Packages.gz")
			index := run(t, packed, "gzip", "-dc")
			seen := make(map[string]bool)
			for p, err := range control.Paragraphs(string(index)) {
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range []string{"Depends", "Pre-Depends", "Provides", "Conflicts", "Breaks", "Replaces"} {
					if _, err := control.ParseRelations(control.Field(p, f)); err != nil {
						t.Errorf("%s: %s: %v", control.Field(p, "Package"), f, err)
					}
				}
				name := control.Field(p, "Package")
				for _, n := range names {
					if n != name {
						continue
					}
					seen[n] = true
					path := filepath.Join(dir, n+".deb")
					file := control.Field(p, "Filename")
					run(t, nil, "curl", "-fsS", "-o", path, mirror+"/"+(&url.URL{Path: file}).EscapedPath())
					compareWithDpkg(t, &pool, path)
				}
			}
			if len(seen) != len(names) {
				t.Errorf("found %v", seen)
			}
		})
	}
}
