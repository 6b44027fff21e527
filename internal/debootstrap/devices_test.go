package debootstrap

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/suites"
)

func TestDeviceTables(t *testing.T) {
	for name, want := range map[string]struct {
		devices int
		some    []string
	}{
		"": {8, []string{"dev/null c 666 0:0 1,3", "dev/console c 666 0:0 5,1"}},
		// As a root made by debootstrap has them.
		"xenial": {80, []string{
			"dev/console c 600 0:5 5,1", "dev/tty c 666 0:5 5,0", "dev/tty0 c 600 0:5 4,0", "dev/tty9 c 600 0:5 4,9",
			"dev/ram16 b 660 0:6 1,16", "dev/loop7 b 660 0:6 7,7", "dev/midi00 c 660 0:29 14,2", "dev/midi03 c 660 0:29 14,50",
			"dev/midi3 c 660 0:29 35,3", "dev/smpte3 c 660 0:29 35,131", "dev/mem c 640 0:15 1,1",
		}},
	} {
		table, err := deviceTable(name)
		if err != nil {
			t.Fatal(err)
		}
		devices, err := parseDevices(table)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		paths := map[string]bool{}
		for _, d := range devices {
			if d.kind == 'd' || d.kind == 'l' {
				continue
			}
			for _, e := range d.entries(5) {
				got[fmt.Sprintf("%s %c %o %d:%d %d,%d", e.Path, e.Type, e.Mode, e.UID, e.GID, e.Major, e.Minor)] = true
				if paths[e.Path] {
					t.Errorf("%q: %s twice", name, e.Path)
				}
				paths[e.Path] = true
			}
		}
		if len(got) != want.devices {
			t.Errorf("%q: %d devices, want %d", name, len(got), want.devices)
		}
		for _, s := range want.some {
			if !got[s] {
				t.Errorf("%q: no %s", name, s)
			}
		}
	}
	if _, err := deviceTable("woody"); err == nil {
		t.Error("unknown table: no error")
	}
	for _, bad := range []string{"x", "c 0666 0 0 1 null", "c 0666 0 0 1 x null", "d rwx pts"} {
		if _, err := parseDevices(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// Every suite's table must exist.
func TestSuitesDeviceTables(t *testing.T) {
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range set.All() {
		if _, err := deviceTable(s.Rules.DeviceTable); err != nil {
			t.Errorf("%s: %v", s.Codename, err)
		}
	}
}

func TestLockValidate(t *testing.T) {
	good := Lock{Schema: LockSchema, Suite: "bionic", Arch: "amd64", Packages: []LockPackage{{Name: "libc6", Arch: "amd64"}}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, tc := range []struct {
		says string
		bend func(*Lock)
	}{
		{"schema", func(l *Lock) { l.Schema++ }},
		{"suite", func(l *Lock) { l.Suite = "" }},
		{"epoch", func(l *Lock) { l.Epoch = "-5" }},
		{"epoch", func(l *Lock) { l.Epoch = "yesterday" }},
		{"package name", func(l *Lock) { l.Packages = []LockPackage{{Name: "../x", Arch: "all"}} }},
		{"architecture", func(l *Lock) { l.Packages = []LockPackage{{Name: "libc6", Arch: "i386"}} }},
		{"twice", func(l *Lock) { l.Packages = append(l.Packages, l.Packages[0]) }},
		{"bad file", func(l *Lock) { l.Files = []LockFile{{Path: "etc/x"}} }},
		{"bad file", func(l *Lock) { l.Files = []LockFile{{Path: "/etc/x", Mode: 0o100644}} }},
	} {
		l := good
		tc.bend(&l)
		if err := l.Validate(); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("want an error about %s, got %v", tc.says, err)
		}
	}
}
