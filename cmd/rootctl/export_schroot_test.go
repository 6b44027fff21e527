package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// An export for schroot says, before it writes, that a file of configuration goes with the folder, and which variant
// packages want. Without schroot it writes nothing.
func TestExportForSchroot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts another /etc")
	}
	e := newExported(t)
	export := func(prepare string) (string, error) {
		script := `set -e; cp -a /etc "$1"; mount --bind "$1" /etc; ` + prepare + `
exec "$2" export fixture --for schroot -o "$3"`
		c := exec.Command("unshare", "-m", "sh", "-c", script, "sh", t.TempDir()+"/etc", e.self, e.at("chroots/own"))
		c.Env = append(os.Environ(), "ROOTCTL_CACHE="+e.dir)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if err := os.Mkdir(e.at("chroots"), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := export("rm -rf /etc/schroot")
	if err == nil || !strings.Contains(out, "schroot is not installed") || !strings.Contains(out, "hint: apt-get install schroot") || isFolder(e.at("chroots/own")) {
		t.Errorf("without schroot: %v\n%s", err, out)
	}
	out, err = export("mkdir -p /etc/schroot/chroot.d")
	note := strings.Index(out, "note: /etc/schroot/chroot.d/own, which tells schroot of it, is written as well\n")
	wrote := strings.Index(out, "wrote ")
	if err != nil || note < 0 || wrote < note || !strings.Contains(out, "packages are built in roots of variant buildd, and this one is minbase") ||
		!isFolder(e.at("chroots/own/usr")) {
		t.Errorf("%v\n%s", err, out)
	}
}
