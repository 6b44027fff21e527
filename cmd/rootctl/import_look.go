package main

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// describe fills in the root's Info with what the root says of itself, and where it came from.
func (im *importing) describe(tree string, m *cache.Manifest) error {
	i := &im.info
	i.Built = im.now().UTC().Truncate(time.Second)
	if err := lookInto(i, tree, m); err != nil {
		return err
	}
	if i.Arch == "" {
		i.Arch = im.arch
	}
	if im.arch != "" && i.Arch != im.arch {
		return withHint(&debootstrap.UsageError{What: "its programs are of " + i.Arch + ", not of " + im.arch}, "leave --arch out, or say --arch %s", i.Arch)
	}
	if i.Imported == nil {
		i.Imported = &debootstrap.InfoImport{}
	}
	i.Imported.From, i.Imported.Format, i.Imported.Time = oneLine(baseName(im.from)), im.format, i.Built
	return nil
}

// lookInto fills in an Info with what a root says of itself. Nothing hangs on it but what is shown, and whether its
// programs run here.
func lookInto(i *debootstrap.Info, tree string, m *cache.Manifest) error {
	t, err := unpack.Open(tree)
	if err != nil {
		return err
	}
	defer t.Close()
	i.TarSize = m.TarSize
	release := osRelease(t)
	if i.Suite == "" {
		i.Suite = oneWord(release["VERSION_CODENAME"])
	}
	i.Title = oneLine(release["PRETTY_NAME"])
	i.Packages = len(packagesIn(t))
	for _, e := range m.Entries {
		i.Epoch = max(i.Epoch, e.MTime)
	}
	if i.Arch == "" {
		i.Arch = archIn(t)
	}
	return nil
}

// maxLook bounds the files of a root that are looked into.
const maxLook = 64 << 20

func osRelease(t *unpack.Tree) map[string]string {
	fields := map[string]string{}
	b, err := t.ReadFile("/etc/os-release", maxLook)
	if err != nil {
		b, _ = t.ReadFile("/usr/lib/os-release", maxLook) // none is fine
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[k] = strings.Trim(v, `"'`)
		}
	}
	return fields
}

// oneWord lets through what a name of a suite may be: part of a path, and a command's argument that is no flag.
func oneWord(s string) string {
	if len(s) > 64 || strings.HasPrefix(s, "-") || strings.HasPrefix(s, ".") || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") != "" {
		return ""
	}
	return s
}

// packagesIn lists the packages that dpkg's database has as installed.
func packagesIn(t *unpack.Tree) []shownPackage {
	b, err := t.ReadFile("/var/lib/dpkg/status", maxLook)
	if err != nil {
		return nil
	}
	var list []shownPackage
	for p, err := range control.Paragraphs(string(b)) {
		if err != nil {
			return list
		}
		if strings.HasSuffix(control.Field(p, "Status"), " installed") {
			list = append(list, shownPackage{Name: oneLine(control.Field(p, "Package")), Version: oneLine(control.Field(p, "Version")),
				Arch: oneLine(control.Field(p, "Architecture"))})
		}
	}
	return list
}

// archIn is Debian's name of a root's architecture: dpkg's word, else that of a program's header.
func archIn(t *unpack.Tree) string {
	if b, err := t.ReadFile("/var/lib/dpkg/arch", 4096); err == nil {
		native, _, _ := strings.Cut(string(b), "\n")
		if checkArch(native) == nil {
			return native
		}
	}
	for _, name := range []string{"/bin/sh", "/usr/bin/sh", "/bin/busybox", "/usr/bin/env", "/sbin/init", "/lib64/ld-linux-x86-64.so.2",
		"/lib/ld-linux-aarch64.so.1", "/lib/ld-linux-armhf.so.3", "/lib/ld-linux.so.2"} {
		if b, err := t.ReadFile(name, maxLook); err == nil {
			if arch := elfArch(b); arch != "" {
				return arch
			}
		}
	}
	return ""
}

// elfArch is Debian's name of the architecture of a program, "" if it has none.
func elfArch(b []byte) string {
	if len(b) < 52 || !bytes.HasPrefix(b, []byte("\x7fELF")) {
		return ""
	}
	var order binary.ByteOrder = binary.LittleEndian
	if b[5] == 2 {
		order = binary.BigEndian
	}
	wide := b[4] == 2
	machine, little := order.Uint16(b[18:]), b[5] == 1
	switch {
	case machine == 62 && wide:
		return "amd64"
	case machine == 3:
		return "i386"
	case machine == 183 && little:
		return "arm64"
	case machine == 40 && little:
		if order.Uint32(b[36:])&0x400 != 0 { // EF_ARM_ABI_FLOAT_HARD
			return "armhf"
		}
		return "armel"
	case machine == 21 && little:
		return "ppc64el"
	case machine == 243 && wide:
		return "riscv64"
	case machine == 22 && wide:
		return "s390x"
	case machine == 8 && little && wide:
		return "mips64el"
	case machine == 8 && little:
		return "mipsel"
	}
	return ""
}
