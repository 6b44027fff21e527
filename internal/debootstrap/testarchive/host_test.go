package testarchive

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestHostConfigures shows that the real dpkg configures a root made of Host's packages, in both
// layouts: unpacked here by dpkg-deb, so that nothing of rootctl stands between.
func TestHostConfigures(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: chroot")
	}
	needs(t, "dpkg-deb")
	for _, merged := range []bool{true, false} {
		name := "unmerged"
		if merged {
			name = "merged"
		}
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if merged {
				mergedLinks(t, root)
			}
			packages := Host(t)
			unpackByHand(t, root, packages)
			out := run(t, "chroot", root, "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "dpkg", "--configure", "-a")
			status := run(t, "chroot", root, "/usr/bin/dpkg-query", "-W", "-f", "${Package} ${Status}\n")
			if n := strings.Count(status, " install ok installed\n"); n != len(packages) {
				t.Errorf("%d of %d are installed:\n%s\n%s", n, len(packages), status, out)
			}
			if _, err := os.Stat(filepath.Join(root, "etc/ld.so.cache")); err != nil {
				t.Errorf("the ldconfig trigger has not run: %v", err)
			}
			if got := run(t, "chroot", root, "/bin/sh", "-c", "hello; id -un; rm /etc/issue; ls -d /var/mail"); got != "hello of a fixture archive\nroot\n/var/mail\n" {
				t.Errorf("inside: %q", got)
			}
			if out := run(t, "chroot", root, "/usr/bin/dpkg", "--audit"); out != "" {
				t.Errorf("dpkg --audit: %s", out)
			}
		})
	}
}

func mergedLinks(t *testing.T, root string) {
	t.Helper()
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(root, "usr", d), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("usr/"+d, filepath.Join(root, d)); err != nil {
			t.Fatal(err)
		}
	}
}

func unpackByHand(t *testing.T, root string, packages []Package) {
	t.Helper()
	info := filepath.Join(root, "var/lib/dpkg/info")
	if err := os.MkdirAll(info, 0o755); err != nil {
		t.Fatal(err)
	}
	var status strings.Builder
	for _, p := range packages {
		deb := write(t, p.Deb())
		// dpkg-deb -x would replace the links of a merged root by directories.
		cmd := exec.Command("sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x -p --keep-directory-symlink -C "$2"`, "sh", deb, root)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", p, err, out)
		}
		control := t.TempDir()
		run(t, "dpkg-deb", "-e", deb, control)
		members, err := os.ReadDir(control)
		if err != nil {
			t.Fatal(err)
		}
		name := p.Name
		if p.Fields["Multi-Arch"] == "same" {
			name += ":" + p.Arch
		}
		for _, m := range members {
			if m.Name() != "control" {
				run(t, "cp", "-p", filepath.Join(control, m.Name()), filepath.Join(info, name+"."+m.Name()))
			}
		}
		list := run(t, "sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -t | sed 's,^\.,,; s,/$,,; s,^$,/.,'`, "sh", deb)
		if err := os.WriteFile(filepath.Join(info, name+".list"), []byte(list), 0o644); err != nil {
			t.Fatal(err)
		}
		paragraph, err := os.ReadFile(filepath.Join(control, "control"))
		if err != nil {
			t.Fatal(err)
		}
		status.WriteString(strings.TrimSpace(string(paragraph)) + "\nStatus: install ok unpacked\n")
		if c := strings.Fields(p.Scripts["conffiles"]); len(c) > 0 {
			status.WriteString("Conffiles:\n")
			for _, f := range c {
				sum := strings.Fields(run(t, "md5sum", filepath.Join(root, f)))[0]
				status.WriteString(" " + f + " " + sum + "\n")
			}
		}
		status.WriteString("\n")
	}
	writeFile(t, filepath.Join(root, "var/lib/dpkg/status"), status.String(), 0o644)
	writeFile(t, filepath.Join(root, "var/lib/dpkg/available"), "", 0o644)
	writeFile(t, filepath.Join(info, "format"), "1\n", 0o644)
	writeFile(t, filepath.Join(root, "pre"), packages[1].Scripts["preinst"], 0o755)
	run(t, "chroot", root, "/sbin/ldconfig")
	run(t, "chroot", root, "/pre", "install")
}

func writeFile(t *testing.T, path, body string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), mode); err != nil {
		t.Fatal(err)
	}
}
