package runner

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Machine is what decides how programs of another architecture run here.
type Machine struct {
	Arch string   // Debian's name of the machine's own
	Path []string // folders that may hold emulators, beside the usual ones

	// registered replaces the folder of the host's registrations, folders the usual ones, runs the kernel's answer.
	registered string
	folders    []string
	runs       func(program []byte) bool
}

// Format says how programs of an architecture run: nil if without more ado, else what has to be registered. The
// processor's own ability comes first, then an emulator for the container alone, then the host's registration.
func (m Machine) Format(arch string) (*Format, error) {
	if arch == m.Arch || m.runsItself(arch) {
		return nil, nil
	}
	for _, e := range emulators() {
		if e.arch != arch {
			continue
		}
		byHost := m.hostRuns(e)
		if file := m.emulator(e.qemu); file != "" {
			f := e.format(file)
			f.Optional = byHost
			return f, nil
		}
		if byHost {
			return nil, nil
		}
		return nil, &SpecError{
			Problem: fmt.Sprintf("programs of architecture %s do not run on this machine (%s) without an emulator", arch, m.Arch),
			Fix:     "apt-get install qemu-user-static (qemu-user, from Debian 13 on), which has qemu-" + e.qemu,
		}
	}
	return nil, &SpecError{Problem: fmt.Sprintf("no emulator is known for architecture %s", arch), Fix: "known are: " + strings.Join(Emulated(), ", ")}
}

// emulator looks for a static qemu. One that needs the host's loader and libraries would not find them in the container.
func (m Machine) emulator(qemu string) string {
	folders := m.folders
	if folders == nil {
		folders = append(append(folders, m.Path...), "/usr/bin", "/usr/local/bin")
	}
	for _, name := range []string{"qemu-" + qemu + "-static", "qemu-" + qemu} {
		for _, dir := range folders {
			file := filepath.Join(dir, name)
			if filepath.IsAbs(file) && !strings.ContainsAny(file, ":\n") && isStatic(file) {
				return file
			}
		}
	}
	return ""
}

// isStatic tells whether a file is a program of 64 bits, as of every machine this runs on, that names no interpreter.
func isStatic(name string) bool {
	const interpreter = 3                                       // PT_INTERP
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0) // it may be a pipe
	if err != nil {
		return false
	}
	defer f.Close()
	var h [64]byte
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return false
	}
	if _, err := io.ReadFull(f, h[:]); err != nil || string(h[:6]) != "\x7fELF\x02\x01" {
		return false
	}
	le := binary.LittleEndian
	offset, size, n := le.Uint64(h[32:]), int64(le.Uint16(h[54:])), int64(le.Uint16(h[56:]))
	if offset > 1<<20 || size < 56 {
		return false
	}
	for i := range n {
		var p [4]byte
		if _, err := f.ReadAt(p[:], int64(offset)+i*size); err != nil || le.Uint32(p[:]) == interpreter {
			return false
		}
	}
	return n > 0
}

// hostRuns tells whether the host has registered an interpreter for the architecture that containers can use: one that
// was opened then (flag F), for its path means nothing inside.
func (m Machine) hostRuns(e emulated) bool {
	dir := m.registered
	if dir == "" {
		dir = "/proc/sys/fs/binfmt_misc"
	}
	if b, err := os.ReadFile(filepath.Join(dir, "status")); err != nil || strings.TrimSpace(string(b)) != "enabled" {
		return false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil { // register can only be written
			continue
		}
		if f := parseRegistration(string(b)); f != nil && f.matches(e.head(elfExec)) && f.matches(e.head(elfDyn)) {
			return true
		}
	}
	return false
}

// parseRegistration reads what the kernel shows of a registration; nil if it is off, has no flag F, or goes by something
// else than the start of the file.
func parseRegistration(text string) *Format {
	f := &Format{}
	on, fixed := false, false
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch key {
		case "enabled":
			on = true
		case "interpreter":
			f.Interpreter = value
		case "flags:":
			fixed = strings.Contains(value, "F")
		case "offset":
			if value != "0" {
				return nil
			}
		case "magic":
			f.Magic, err = hex.DecodeString(value)
		case "mask":
			f.Mask, err = hex.DecodeString(value)
		}
		if err != nil {
			return nil
		}
	}
	if f.Mask == nil {
		f.Mask = []byte(strings.Repeat("\xff", len(f.Magic)))
	}
	if !on || !fixed || len(f.Magic) == 0 || len(f.Mask) != len(f.Magic) {
		return nil
	}
	return f
}

// Sisters tells whether a processor of the first architecture may run programs of the second one, which has 32 bits.
func Sisters(arch, small string) bool {
	return arch == "amd64" && small == "i386" || arch == "arm64" && (small == "armhf" || small == "armel")
}

// runsItself tells whether processor and kernel run the architecture, by running the smallest program of it.
func (m Machine) runsItself(arch string) bool {
	if !Sisters(m.Arch, arch) {
		return false
	}
	// mov eax, exit; xor ebx, ebx; int 0x80
	program := smallest(3, 0, []byte{0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80})
	if m.Arch == "arm64" {
		// mov r7, exit; mov r0, 0; svc 0
		program = smallest(40, 0x05000000, []byte{1, 0x70, 0xa0, 0xe3, 0, 0, 0xa0, 0xe3, 0, 0, 0, 0xef})
	}
	if m.runs != nil {
		return m.runs(program)
	}
	return runsProgram(program)
}

// smallest is a program of 32 bits that holds nothing but code.
func smallest(machine uint16, flags uint32, code []byte) []byte {
	const base, heads = 0x400000, 52 + 32
	le := binary.LittleEndian
	b := emulated{bits: 32, machine: machine}.head(elfExec)
	for _, v := range []uint32{1, base + heads, 52, 0, flags} { // version, entry, offsets of program and section headers
		b = le.AppendUint32(b, v)
	}
	for _, v := range []uint16{52, 32, 1, 0, 0, 0} { // sizes and numbers of headers
		b = le.AppendUint16(b, v)
	}
	size := uint32(heads + len(code))
	for _, v := range []uint32{1, 0, base, base, size, size, 5, 0x1000} { // load it all, to read and execute
		b = le.AppendUint32(b, v)
	}
	return append(b, code...)
}

// runsProgram runs a program without writing it to a disk.
func runsProgram(program []byte) bool {
	fd, err := unix.MemfdCreate("probe", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("probe", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if n, err := unix.Write(fd, program); err != nil || n != len(program) {
		return false
	}
	pid, err := syscall.ForkExec(fmt.Sprintf("/proc/self/fd/%d", fd), []string{"probe"}, &syscall.ProcAttr{})
	if err != nil {
		return false
	}
	ws := reap(pid)
	return ws.Exited() && ws.ExitStatus() == 0
}
