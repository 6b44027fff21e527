package debootstrap

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

func TestDateShadow(t *testing.T) {
	in := "root:*:20780:0:99999:7:::\nlocked:!:20781::::::\nexpired:*:0:0:99999:7:::\nempty:*::0:99999:7:::\nodd\n"
	want := "root:*:17646:0:99999:7:::\nlocked:!:17646::::::\nexpired:*:0:0:99999:7:::\nempty:*::0:99999:7:::\nodd\n"
	if got := dateShadow(in, 1524637128); got != want {
		t.Errorf("got %q", got)
	}
}

func TestCleanup(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root: files are given owners")
	}
	root := t.TempDir()
	files := map[string]string{
		"etc/machine-id": "0123\n", "var/lib/dbus/machine-id": "0123\n", "etc/shadow": "root:*:20780:0:99999:7:::\n",
		"var/lib/dpkg/status": "s", "var/lib/dpkg/status-old": "s", "var/lib/dpkg/diversions-old": "s",
		"var/cache/debconf/config.dat": "c", "var/cache/debconf/config.dat-old": "c",
		"var/log/apt/term.log": "x", "var/log/apt/eipp.log.xz": "x", "var/log/btmp": "",
		"var/lib/apt/lists/x_Packages": "x", "var/lib/apt/lists/partial/y": "x", "var/cache/apt/archives/a.deb": "x",
		"run/utmp": "", "run/lock/held": "", "run/sub/dir/file": "", "tmp/.hidden": "",
		"usr/lib/python3/dist-packages/m/__pycache__/m.pyc": "x", "usr/lib/python3/dist-packages/m/m.py": "x",
		"usr/share/p/__pycache__/p.pyc": "x", "usr/share/p/two.py": "x", "usr/share/p/two.pyc": "x", "usr/share/p/only.pyc": "x",
		"var/cache/man/index.db": "x", "var/cache/man/de/index.db": "x", "var/cache/man/CACHEDIR.TAG": "t",
		"etc/popularity-contest.conf": "MY_HOSTID=1", "etc/cron.d/popularity-contest": "7",
		"etc/console-setup/cached.kmap.gz": "x",
		"etc/ssh/ssh_host_rsa_key":         "a secret",
		"etc/ssh/ssh_host_rsa_key.pub":     "and its half",
	}
	for name, data := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(data), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	// A hostile script's: nothing outside may be emptied.
	if err := os.Symlink("/etc", filepath.Join(root, "var/tmp")); err != nil {
		t.Fatal(err)
	}
	tree, err := unpack.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	in := newInstaller(&Lock{}, InstallOptions{}, tree)
	for _, f := range []func() error{in.removeLitter, in.clearIdentity, func() error { return in.datePasswords(86400 * 7) }} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	var left []string
	err = filepath.Walk(root, func(p string, fi os.FileInfo, err error) error {
		if err == nil && fi.Mode().IsRegular() {
			b, _ := os.ReadFile(p)
			left = append(left, fmt.Sprintf("%s %o %q", strings.TrimPrefix(p, root+"/"), fi.Mode(), b))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`etc/machine-id 640 ""`, `etc/shadow 640 "root:*:7:0:99999:7:::\n"`,
		`usr/lib/python3/dist-packages/m/m.py 640 "x"`, `usr/share/p/only.pyc 640 "x"`, `usr/share/p/two.py 640 "x"`,
		`var/cache/debconf/config.dat 640 "c"`, `var/cache/man/CACHEDIR.TAG 640 "t"`, `var/lib/dpkg/status 640 "s"`, `var/log/btmp 640 ""`,
	}
	if got := strings.Join(left, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("left:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
	for _, d := range []string{"run/lock", "tmp", "var/lib/apt/lists/partial", "var/cache/apt/archives"} {
		if fi, err := os.Stat(filepath.Join(root, d)); err != nil || !fi.IsDir() {
			t.Errorf("%s: %v", d, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "run/sub")); err == nil {
		t.Error("run/sub is still there")
	}
}
