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
)

// debianArchs are the architectures that Debian or Ubuntu release.
var debianArchs = []string{"amd64", "arm64", "armel", "armhf", "i386", "mips64el", "mipsel", "ppc64el", "riscv64", "s390x"}

// checkArch refuses an architecture that does not exist. Whether its programs run here is asked when they are to run.
func checkArch(arch string) error {
	if slices.Contains(debianArchs, arch) {
		return nil
	}
	return &debootstrap.UsageError{What: fmt.Sprintf("unknown architecture %q", arch), Next: "Debian's names: " + strings.Join(debianArchs, ", ")}
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
