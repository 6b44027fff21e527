package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/runner"
	"github.com/rootctl/rootctl/suites"
)

// debianArchs are the architectures that Debian or Ubuntu release.
var debianArchs = []string{"amd64", "arm64", "armel", "armhf", "i386", "mips64el", "mipsel", "ppc64el", "riscv64", "s390x"}

// checkArch refuses an architecture that does not exist. Whether its programs run here is asked when they are to run.
func checkArch(arch string) error {
	if slices.Contains(debianArchs, arch) {
		return nil
	}
	next := "Debian's names: " + strings.Join(debianArchs, ", ")
	if near := nearArch(arch); near != "" {
		next = fmt.Sprintf("did you mean %s? %s", near, next)
	}
	return &debootstrap.UsageError{What: fmt.Sprintf("unknown architecture %q", arch), Next: next}
}

// nearArch is Debian's name of an architecture by the kernel's, Docker's or another misspelt name, "" if none is near.
func nearArch(arch string) string {
	name := strings.ToLower(arch)
	switch name {
	case "x86_64", "x86-64", "x64", "x86_64v2", "x86_64v3", "linux/amd64":
		return "amd64"
	case "i486", "i586", "i686", "x86", "386", "linux/386":
		return "i386"
	case "aarch64", "arm64v8", "armv8", "armv8l", "linux/arm64":
		return "arm64"
	case "armv7", "armv7l", "armv7hl", "arm32v7", "arm", "linux/arm/v7":
		return "armhf"
	case "armv5", "armv5tel", "armv6l", "arm32v5":
		return "armel"
	case "ppc64le", "powerpc64le", "linux/ppc64le":
		return "ppc64el"
	case "mips64le":
		return "mips64el"
	case "mipsle":
		return "mipsel"
	}
	if near := suites.Near(name, debianArchs); len(near) > 0 {
		return near[0]
	}
	return ""
}

// format says how programs of a root's architecture run here: nil if without more ado, else what the runner has to
// register for the container. A root of unknown architecture is taken for one of this machine.
func (a *app) format(arch string) (*runner.Format, error) {
	if arch == "" {
		return nil, nil
	}
	m := runner.Machine{Arch: hostArch(), Path: filepath.SplitList(a.getenv("PATH"))}
	f, err := m.Format(arch)
	if err == nil && f != nil {
		a.log().Debug("programs run by an emulator", "arch", arch, "emulator", f.Interpreter)
	}
	return f, err
}

// archOf is the architecture of a root, "" where its record does not say.
func archOf(ref cache.Ref) string {
	var i debootstrap.Info
	if json.Unmarshal(ref.Info, &i) != nil {
		return ""
	}
	return i.Arch
}
