package main

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/runner"
)

func TestCheckArch(t *testing.T) {
	known := runner.Emulated()
	for _, arch := range debianArchs {
		if err := checkArch(arch); err != nil {
			t.Error(err)
		}
		if !slices.Contains(known, arch) {
			t.Errorf("no emulator is known for %s", arch)
		}
	}
	var usage *debootstrap.UsageError
	if err := checkArch("aarch64"); !errors.As(err, &usage) || !strings.Contains(usage.Next, "arm64") {
		t.Error(err)
	}
}

func TestArchOf(t *testing.T) {
	for info, want := range map[string]string{`{"arch":"arm64"}`: "arm64", `{}`: "", `[]`: "", ``: ""} {
		if got := archOf(cache.Ref{Info: []byte(info)}); got != want {
			t.Errorf("%s: %q, want %q", info, got, want)
		}
	}
	a := &app{getenv: func(string) string { return "" }}
	for _, arch := range []string{"", hostArch()} {
		if f, err := a.format(arch); f != nil || err != nil {
			t.Errorf("%q: %v %v", arch, f, err)
		}
	}
}

// TestRealForeign builds and runs another machine's Debian by an emulator, and the same machine's of 32 bits.
func TestRealForeign(t *testing.T) {
	r := newReal(t)
	other, machine := "arm64", "aarch64"
	if hostArch() == "arm64" {
		other, machine = "amd64", "x86_64"
	}
	a := &app{getenv: func(string) string { return "" }}
	if _, err := a.format(other); err != nil {
		t.Skipf("needs qemu-user-static: %v", err)
	}
	name := "bookworm:" + other
	b := r.buildSuite(t, "bookworm", "--arch", other)
	if b.Cached || b.Name != name || b.Arch != other || b.Packages < 80 {
		t.Errorf("build: %+v", b)
	}
	if got := r.must(t, "run", name, "uname", "-m"); got != machine+"\n" {
		t.Errorf("uname -m: %q", got)
	}
	if got := r.must(t, "run", "--arch", other, "bookworm", "dpkg", "--print-architecture"); got != other+"\n" {
		t.Errorf("dpkg: %q", got)
	}
	if got := r.must(t, "run", name, "--", "sh", "-c", "dpkg-query -Wf '${db:Status-Abbrev}\\n' | sort -u; ls /proc/sys/fs/binfmt_misc; grep binfmt /proc/mounts"+
		"; find / -xdev -name '*qemu*'"); got != "ii \n" {
		t.Errorf("not only installed packages, or traces of the emulator: %q", got)
	}
	r.must(t, "run", name, "--", "sh", "-c", consistent)
	if again := r.buildSuite(t, name); !again.Cached || again.Digest != b.Digest {
		t.Errorf("second build: %+v", again)
	}
	r.checkUnchanged(t, b.Digest)

	if hostArch() == "amd64" {
		b := r.buildSuite(t, "bionic:i386")
		if b.Arch != "i386" || b.Packages < 80 {
			t.Errorf("build: %+v", b)
		}
		r.must(t, "run", "bionic:i386", "--", "sh", "-c", consistent)
		if got := r.must(t, "run", "bionic:i386", "uname", "-m"); got != "i686\n" {
			t.Errorf("uname -m: %q", got)
		}
	}
}
