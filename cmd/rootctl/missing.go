package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// packageOf says which package has a tool that people miss in small roots. Where suites differ, the
// name is that of the newer ones.
var packageOf = map[string]string{
	"ps": "procps", "top": "procps", "free": "procps", "pgrep": "procps", "pkill": "procps", "watch": "procps", "sysctl": "procps", "uptime": "procps",
	"ip": "iproute2", "ss": "iproute2", "ping": "iputils-ping", "ifconfig": "net-tools", "netstat": "net-tools", "route": "net-tools",
	"curl": "curl", "wget": "wget", "git": "git", "make": "make", "gcc": "gcc", "cc": "gcc", "g++": "g++", "c++": "g++", "ld": "binutils", "as": "binutils",
	"python3": "python3", "python": "python3", "pip": "python3-pip", "pip3": "python3-pip", "perl": "perl", "ruby": "ruby", "node": "nodejs", "npm": "npm",
	"go": "golang-go", "cargo": "cargo", "rustc": "rustc", "java": "default-jre", "javac": "default-jdk", "cmake": "cmake", "ninja": "ninja-build",
	"vi": "vim-tiny", "vim": "vim", "nano": "nano", "less": "less", "man": "man-db", "file": "file", "sudo": "sudo", "ssh": "openssh-client",
	"rsync": "rsync", "unzip": "unzip", "zip": "zip", "xz": "xz-utils", "bzip2": "bzip2", "zstd": "zstd", "gpg": "gnupg", "strace": "strace",
	"gdb": "gdb", "lsof": "lsof", "killall": "psmisc", "pstree": "psmisc", "host": "bind9-host", "dig": "bind9-dnsutils", "nc": "netcat-openbsd",
	"jq": "jq", "bc": "bc", "patch": "patch", "lsb_release": "lsb-release", "locale-gen": "locales", "add-apt-repository": "software-properties-common",
	"docker": "docker.io", "openssl": "openssl", "socat": "socat", "tmux": "tmux", "screen": "screen", "systemctl": "systemd", "udevadm": "udev",
}

// missingHint says which package has a well-known command that the root has not, "" if none is known.
func missingHint(tree, command string) string {
	if strings.HasPrefix(command, "-") {
		return "flags of rootctl go before NAME: rootctl run [flags] NAME [--] COMMAND"
	}
	pkg, ok := packageOf[command]
	if !ok || inRoot(tree, command) {
		return ""
	}
	return fmt.Sprintf("%s is in the package %s; for a root that has it: rootctl build SUITE --include %s --tag NAME", command, pkg, pkg)
}

// inRoot reports whether a command lies in one of the root's folders for commands. The root is not
// trusted: nothing is followed, only looked at.
func inRoot(tree, command string) bool {
	for _, dir := range []string{"usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"} {
		if _, err := os.Lstat(filepath.Join(tree, dir, command)); err == nil {
			return true
		}
	}
	return false
}
