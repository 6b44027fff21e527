package dpkg

import (
	"strings"
)

// IsNoop says whether a preinst is known to do nothing when its package is
// installed for the first time: a shell script of nothing but comments, "set
// -e", "exit 0" and dpkg-maintscript-helper calls, which act on upgrades only.
func IsNoop(script []byte) bool {
	s := strings.ReplaceAll(string(script), "\\\n", " ")
	first, rest, _ := strings.Cut(s, "\n")
	interpreter, ok := strings.CutPrefix(first, "#!")
	if !ok {
		return false
	}
	switch strings.Join(strings.Fields(interpreter), " ") {
	case "/bin/sh", "/bin/sh -e", "/bin/bash", "/bin/bash -e", "/usr/bin/sh", "/usr/bin/sh -e":
	default:
		return false
	}
	for line := range strings.Lines(rest) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", line[0] == '#', line == "set -e", line == "set -eu", line == "exit 0", line == ":":
		case strings.HasPrefix(line, "dpkg-maintscript-helper ") && plainCall(line):
		default:
			return false
		}
	}
	return true
}

// plainCall says whether a line of shell is one command with nothing that the
// shell would do beside it.
func plainCall(line string) bool {
	line = strings.ReplaceAll(line, `"$@"`, "")
	return !strings.ContainsAny(line, ";|&<>()`$\\")
}

// preinstFirst is the order in which the first preinsts run: each of these
// makes what those after it use. The rest go by name.
func preinstFirst() []string {
	return []string{"base-passwd", "base-files", "dpkg", "libc6", "perl-base", "mawk", "debconf"}
}

// PreinstOrder sorts package names as their preinsts are to run.
func PreinstOrder(names []string) []string {
	in := make(map[string]bool, len(names))
	for _, n := range names {
		in[n] = true
	}
	out := make([]string, 0, len(names))
	for _, n := range preinstFirst() {
		if in[n] {
			out = append(out, n)
			delete(in, n)
		}
	}
	return append(out, sortedKeys(in)...)
}

// ScriptEnv is what dpkg adds to the environment of a maintainer script.
func (p *Package) ScriptEnv(script string) []string {
	return []string{
		"DPKG_MAINTSCRIPT_PACKAGE=" + p.Name,
		"DPKG_MAINTSCRIPT_ARCH=" + p.Arch,
		"DPKG_MAINTSCRIPT_NAME=" + script,
		"DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1",
		"DPKG_MAINTSCRIPT_DEBUG=0",
		"DPKG_ADMINDIR=" + AdminDir,
		"DPKG_ROOT=",
	}
}
