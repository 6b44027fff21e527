package runner

import (
	"fmt"
	"strings"
)

// Format is a kind of program that the kernel hands to an interpreter: a registration of binfmt_misc.
type Format struct {
	Name string `json:"name"` // of the registration, as "qemu-aarch64"
	// Interpreter is a static program of the host that everybody may run. It is opened when it is registered, so that
	// nothing of it need be in the root.
	Interpreter string `json:"interpreter"`
	Magic       []byte `json:"magic"`
	Mask        []byte `json:"mask"`
	// Optional: the host has a registration that serves as well, for kernels that keep none for a container alone.
	Optional bool `json:"optional,omitempty"`

	filesystem string // replaces binfmt_misc
}

// line is what the kernel reads (its admin-guide/binfmt-misc): F opens the interpreter at once, C gives setuid programs
// their rights, P passes argv[0] on, which qemu understands since 6.0.
func (f *Format) line() []byte {
	hex := func(b []byte) string {
		var s strings.Builder
		for _, c := range b {
			fmt.Fprintf(&s, `\x%02x`, c)
		}
		return s.String()
	}
	return []byte(":" + f.Name + ":M::" + hex(f.Magic) + ":" + hex(f.Mask) + ":" + f.Interpreter + ":CPF")
}

func (f *Format) validate() error {
	for _, s := range []string{f.Name, f.Interpreter} {
		if s == "" || strings.ContainsAny(s, ":\n\x00") {
			return &SpecError{Problem: fmt.Sprintf("%q cannot be registered with binfmt_misc", s), Fix: "use a name and a path without colons"}
		}
	}
	if f.Interpreter[0] != '/' || len(f.Magic) == 0 || len(f.Magic) != len(f.Mask) {
		return &SpecError{Problem: fmt.Sprintf("registration of %s is not complete", f.Name), Fix: "give an absolute path, and a magic and a mask of equal length"}
	}
	return nil
}

// matches tells whether the kernel would take a file that starts with head for one of this format.
func (f *Format) matches(head []byte) bool {
	if len(head) < len(f.Magic) {
		return false
	}
	for i, m := range f.Magic {
		if (head[i]^m)&f.Mask[i] != 0 {
			return false
		}
	}
	return true
}

// emulated is an architecture with the emulator that runs its programs.
type emulated struct {
	arch    string // Debian's name
	qemu    string // qemu's
	bits    int
	big     bool   // big-endian
	machine uint16 // e_machine of elf.h
}

func emulators() []emulated {
	return []emulated{
		{"amd64", "x86_64", 64, false, 62},
		{"arm64", "aarch64", 64, false, 183},
		{"armel", "arm", 32, false, 40},
		{"armhf", "arm", 32, false, 40},
		{"i386", "i386", 32, false, 3},
		{"mips64el", "mips64el", 64, false, 8},
		{"mipsel", "mipsel", 32, false, 8},
		{"ppc64el", "ppc64le", 64, false, 21},
		{"riscv64", "riscv64", 64, false, 243},
		{"s390x", "s390x", 64, true, 22},
	}
}

// Emulated lists the architectures, by Debian's names, that an emulator is known for.
func Emulated() []string {
	var names []string
	for _, e := range emulators() {
		names = append(names, e.arch)
	}
	return names
}

// head is the start of a program: the identification up to its padding, e_type and e_machine.
func (e emulated) head(typ uint16) []byte {
	h := make([]byte, 20)
	copy(h, "\x7fELF\x01\x01\x01")
	if e.bits == 64 {
		h[4] = 2
	}
	at := func(i int, v uint16) {
		h[i], h[i+1] = byte(v), byte(v>>8)
		if e.big {
			h[i], h[i+1] = h[i+1], h[i]
		}
	}
	if e.big {
		h[5] = 2
	}
	at(16, typ)
	at(18, e.machine)
	return h
}

// Kinds of programs (e_type): linked to fixed addresses, and to any.
const (
	elfExec = 2
	elfDyn  = 3
)

// format has the kernel look at all of the head but the operating system's ABI and the bit in which the two kinds differ.
func (e emulated) format(interpreter string) *Format {
	mask := []byte(strings.Repeat("\xff", 20))
	mask[7], mask[16] = 0, 0xfe
	if e.big {
		mask[16], mask[17] = 0xff, 0xfe
	}
	return &Format{Name: "qemu-" + e.qemu, Interpreter: interpreter, Magic: e.head(elfExec), Mask: mask}
}
