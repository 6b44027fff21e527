package runner

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFormats compares the table with the registrations of Debian's qemu packages, as far as magic and machine go.
func TestFormats(t *testing.T) {
	for arch, want := range map[string]string{
		"arm64":   `:qemu-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:CPF`,
		"armhf":   `:qemu-arm:M::\x7f\x45\x4c\x46\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x28\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:CPF`,
		"riscv64": `:qemu-riscv64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xf3\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:CPF`,
		"ppc64el": `:qemu-ppc64le:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x15\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/q:CPF`,
		"s390x":   `:qemu-s390x:M::\x7f\x45\x4c\x46\x02\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x16:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff:/q:CPF`,
	} {
		e := find(t, arch)
		f := e.format("/q")
		if got := string(f.line()); got != want {
			t.Errorf("%s:\n%s\n%s", arch, got, want)
		}
		if err := f.validate(); err != nil {
			t.Error(err)
		}
	}
}

func find(t *testing.T, arch string) emulated {
	t.Helper()
	for _, e := range emulators() {
		if e.arch == arch {
			return e
		}
	}
	t.Fatalf("no emulator for %s", arch)
	return emulated{}
}

// TestFormatsAreApart: no format takes programs of another machine, and each takes both kinds of its own.
func TestFormatsAreApart(t *testing.T) {
	for _, e := range emulators() {
		f := e.format("/q")
		for _, o := range emulators() {
			for _, typ := range []uint16{elfExec, elfDyn} {
				if got := f.matches(o.head(typ)); got != (e.qemu == o.qemu) {
					t.Errorf("the format of %s takes a program of %s (type %d): %v", e.arch, o.arch, typ, got)
				}
			}
		}
		gnu := e.head(elfDyn)
		gnu[7] = 3 // ELFOSABI_GNU, as static programs with indirect functions have it
		if !f.matches(gnu) || f.matches(e.head(1)) || f.matches(e.head(4)) || f.matches(gnu[:19]) {
			t.Errorf("%s: ABI or type misjudged", e.arch)
		}
	}
}

// elfWith is what isStatic looks at: a head and one program header of the given type.
func elfWith(segment byte) []byte {
	b := make([]byte, 64+56)
	copy(b, "\x7fELF\x02\x01\x01")
	b[32], b[54], b[56], b[64] = 64, 56, 1, segment
	return b
}

func TestChoice(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	put("static/qemu-aarch64-static", elfWith(1), 0o755)
	put("new/qemu-aarch64", elfWith(1), 0o755)
	put("new/qemu-i386", elfWith(1), 0o755)
	put("dynamic/qemu-aarch64", elfWith(3), 0o755)
	put("private/qemu-aarch64-static", elfWith(1), 0o644)
	put("script/qemu-aarch64-static", []byte("#!/bin/sh\n"+strings.Repeat("#", 100)), 0o755)
	const magic = "7f454c460201010000000000000000000200b700"
	const mask = "ffffffffffffff00fffffffffffffffffeffffff"
	entry := func(flags string) []byte {
		return fmt.Appendf(nil, "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: %s\noffset 0\nmagic %s\nmask %s\n", flags, magic, mask)
	}
	for name, e := range map[string][]byte{
		"fixed": entry("POCF"), "loose": entry("OC"), "off": bytes.Replace(entry("F"), []byte("enabled"), []byte("disabled"), 1),
		"other": bytes.Replace(entry("F"), []byte("b700"), []byte("f300"), 1), "exec-only": bytes.Replace(entry("F"), []byte("feff"), []byte("ffff"), 1),
		"extension": []byte("enabled\ninterpreter /x\nflags: F\nextension .arm64\n"), "odd": []byte("enabled\nflags: F\noffset 0\nmagic 7f4\n"),
	} {
		put("host-"+name+"/status", []byte("enabled\n"), 0o644)
		put("host-"+name+"/qemu", e, 0o644)
	}
	put("host-all-off/status", []byte("disabled\n"), 0o644)
	put("host-all-off/qemu", entry("F"), 0o644)

	for _, c := range []struct {
		summary, arch string
		folders, host string
		runs          bool
		want          string // emulator, with "?" if optional; "" none needed; else an error that contains it
	}{
		{"own", "amd64", "", "", false, ""},
		{"32 bits by the processor", "i386", "new", "", true, ""},
		{"32 bits by an emulator", "i386", "new", "", false, "new/qemu-i386"},
		{"32 bits not at all", "i386", "static", "", false, "error: architecture i386 do not run on this machine (amd64)"},
		{"static", "arm64", "static", "", false, "static/qemu-aarch64-static"},
		{"-static goes first", "arm64", "new static", "", false, "static/qemu-aarch64-static"},
		{"new name", "arm64", "dynamic new", "", false, "new/qemu-aarch64"},
		{"needs libraries", "arm64", "dynamic", "", false, "error: without an emulator"},
		{"not executable", "arm64", "private", "", false, "error: without an emulator"},
		{"no program", "arm64", "script nowhere", "", false, "error: without an emulator"},
		{"both", "arm64", "static", "fixed", false, "static/qemu-aarch64-static?"},
		{"host alone", "arm64", "dynamic", "fixed", false, ""},
		{"host without F", "arm64", "", "loose", false, "error: without an emulator"},
		{"host's is off", "arm64", "", "off", false, "error: without an emulator"},
		{"all of the host's are off", "arm64", "", "all-off", false, "error: without an emulator"},
		{"host's other architecture", "arm64", "static", "other", false, "static/qemu-aarch64-static"},
		{"host's takes one kind", "arm64", "", "exec-only", false, "error: without an emulator"},
		{"host's goes by name", "arm64", "", "extension", false, "error: without an emulator"},
		{"host's is odd", "arm64", "", "odd", false, "error: without an emulator"},
		{"unknown", "z80", "static", "", false, "error: no emulator is known"},
	} {
		m := Machine{Arch: "amd64", registered: filepath.Join(dir, "host-"+c.host), folders: []string{"relative"}, runs: func([]byte) bool { return c.runs }}
		for _, f := range strings.Fields(c.folders) {
			m.folders = append(m.folders, filepath.Join(dir, f))
		}
		f, err := m.Format(c.arch)
		got := ""
		switch {
		case err != nil:
			got = "error: " + err.Error()
			var se *SpecError
			if !errors.As(err, &se) || se.Hint() == "" {
				t.Errorf("%s: no hint: %v", c.summary, err)
			}
		case f != nil:
			got = strings.TrimPrefix(f.Interpreter, dir+"/")
			if f.Optional {
				got += "?"
			}
		}
		want, isError := strings.CutPrefix(c.want, "error: ")
		if isError && !strings.Contains(got, want) || !isError && got != c.want {
			t.Errorf("%s: %q, want %q", c.summary, got, c.want)
		}
	}
}

// TestOwnSmallPrograms: the probe's programs are what the kernel takes, each for its own machine.
func TestOwnSmallPrograms(t *testing.T) {
	var seen [][]byte
	for _, pair := range [][2]string{{"amd64", "i386"}, {"arm64", "armhf"}, {"arm64", "armel"}, {"amd64", "arm64"}} {
		m := Machine{Arch: pair[0], runs: func(p []byte) bool { seen = append(seen, p); return false }}
		m.runsItself(pair[1])
	}
	if len(seen) != 3 || !find(t, "i386").format("/q").matches(seen[0]) || !find(t, "armhf").format("/q").matches(seen[1]) {
		t.Errorf("%d programs", len(seen))
	}
	if runsProgram([]byte("no program")) {
		t.Error("something that is no program ran")
	}
}

func TestBadFormats(t *testing.T) {
	ok := func() *Format { return emulators()[1].format("/usr/bin/qemu") }
	for summary, spoil := range map[string]func(*Spec){
		"colon":              func(s *Spec) { s.Format.Interpreter = "/a:b" },
		"newline":            func(s *Spec) { s.Format.Name = "a\nb" },
		"relative":           func(s *Spec) { s.Format.Interpreter = "qemu" },
		"no magic":           func(s *Spec) { s.Format.Magic, s.Format.Mask = nil, nil },
		"short mask":         func(s *Spec) { s.Format.Mask = s.Format.Mask[1:] },
		"no users namespace": func(s *Spec) { s.UserNS = "host" },
	} {
		s := Spec{Lower: []string{"/x"}, Argv: []string{"true"}, IDs: IDRange{firstID, blockID}, Format: ok()}
		if _, err := s.Plan(); err != nil {
			t.Fatal(err)
		}
		spoil(&s)
		_, err := s.Plan()
		var se *SpecError
		if !errors.As(err, &se) || se.Hint() == "" {
			t.Errorf("%s: %v", summary, err)
		}
	}
	s := Spec{Lower: []string{"/x"}, Argv: []string{"true"}, UserNS: "host", Format: ok()}
	s.Format.Optional = true
	if p, err := s.Plan(); err != nil || p.find(VerbFormat).Source != "" {
		t.Errorf("with the host's users: %v %v", p, err) // it would register on the host
	}
}

// What lies where an emulator might, and is none, is passed over, and waits for nobody.
func TestNoEmulator(t *testing.T) {
	elf := func(offset uint64, size, n uint16) []byte {
		b := make([]byte, 128)
		copy(b, "\x7fELF\x02\x01")
		binary.LittleEndian.PutUint64(b[32:], offset)
		binary.LittleEndian.PutUint16(b[54:], size)
		binary.LittleEndian.PutUint16(b[56:], n)
		b[64] = 1
		return b
	}
	for summary, put := range map[string]func(name string) error{
		"a pipe":             func(name string) error { return unix.Mkfifo(name, 0o755) },
		"a folder":           func(name string) error { return os.Mkdir(name, 0o755) },
		"empty":              func(name string) error { return os.WriteFile(name, nil, 0o755) },
		"a script":           func(name string) error { return os.WriteFile(name, []byte("#!/bin/sh\n"), 0o755) },
		"cut off":            func(name string) error { return os.WriteFile(name, elf(64, 56, 1)[:40], 0o755) },
		"headers elsewhere":  func(name string) error { return os.WriteFile(name, elf(1<<63, 56, 1), 0o755) },
		"headers past end":   func(name string) error { return os.WriteFile(name, elf(1<<20, 56, 1), 0o755) },
		"headers in another": func(name string) error { return os.WriteFile(name, elf(64, 1, 1), 0o755) },
		"countless headers":  func(name string) error { return os.WriteFile(name, elf(64, 56, 65535), 0o755) },
		"no headers":         func(name string) error { return os.WriteFile(name, elf(64, 56, 0), 0o755) },
		"not executable":     func(name string) error { return os.WriteFile(name, elf(64, 56, 1), 0o644) },
		"a device":           func(name string) error { return os.Symlink("/dev/zero", name) },
	} {
		dir := t.TempDir()
		if err := put(filepath.Join(dir, "qemu-mipsel-static")); err != nil {
			t.Fatal(err)
		}
		m := Machine{Arch: "amd64", folders: []string{dir}}
		if got := m.emulator("mipsel"); got != "" {
			t.Errorf("%s: %s", summary, got)
		}
	}
}
