package main

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// smallELF is a static program of a few instructions for one of the two x86 word sizes, with an interpreter or without.
func smallELF(bits int, interpreter string, code []byte) []byte {
	const base = 0x400000
	le := binary.LittleEndian
	word := func(b []byte, vs ...uint64) []byte {
		for _, v := range vs {
			if bits == 32 {
				b = le.AppendUint32(b, uint32(v))
			} else {
				b = le.AppendUint64(b, v)
			}
		}
		return b
	}
	head, entry, machine, class := 64, 56, uint16(62), byte(2)
	if bits == 32 {
		head, entry, machine, class = 52, 32, 3, 1
	}
	segments := 1
	if interpreter != "" {
		segments = 2
	}
	start := head + segments*entry
	size := uint64(start + len(code) + len(interpreter) + 1)
	b := []byte{0x7f, 'E', 'L', 'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(le.AppendUint16(b, 2), machine) // executable
	b = word(le.AppendUint32(b, 1), base+uint64(start), uint64(head), 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []int{head, entry, segments, 0, 0, 0} {
		b = le.AppendUint16(b, uint16(v))
	}
	segment := func(kind uint32, at, n uint64) {
		b = le.AppendUint32(b, kind)
		if bits == 32 { // the flags stand elsewhere
			b = word(b, at, base+at, base+at, n, n, 5, 4096)
			return
		}
		b = le.AppendUint32(b, 5)
		b = word(b, at, base+at, base+at, n, n, 4096)
	}
	if interpreter != "" {
		segment(3, uint64(start+len(code)), uint64(len(interpreter)+1))
	}
	segment(1, 0, size)
	return append(append(append(b, code...), interpreter...), 0)
}

// machineCode assembles calls of the kernel whose results a program of 64 bits prints as int32s.
type machineCode struct {
	body []byte
	n    int // results
}

func (c *machineCode) imm(op []byte, v uint32) {
	c.body = binary.LittleEndian.AppendUint32(append(c.body, op...), v)
}

// result stores eax.
func (c *machineCode) result() {
	c.imm([]byte{0x41, 0x89, 0x84, 0x24}, uint32(4*c.n)) // mov [r12+4n], eax
	c.n++
}

// native makes a call with up to three arguments, the others are 0.
func (c *machineCode) native(nr uint32, args [3]uint32) {
	c.imm([]byte{0xb8}, nr)
	c.imm([]byte{0xbf}, args[0])
	c.imm([]byte{0xbe}, args[1])
	c.imm([]byte{0xba}, args[2])
	c.body = append(c.body, 0x45, 0x31, 0xd2, 0x45, 0x31, 0xc0, 0x45, 0x31, 0xc9, 0x0f, 5)
	c.result()
}

// old makes one by int 0x80, as an attack on a filter for the native table would.
func (c *machineCode) old(nr uint32, args [3]uint32) {
	c.imm([]byte{0xb8}, nr)
	c.imm([]byte{0xbb}, args[0])
	c.imm([]byte{0xb9}, args[1])
	c.imm([]byte{0xba}, args[2])
	c.body = append(c.body, 0x31, 0xf6, 0x31, 0xff, 0x31, 0xed, 0xcd, 0x80)
	c.result()
}

// program is the code between a place for the results, and writing them.
func (c *machineCode) program() []byte {
	var all machineCode
	all.imm([]byte{0x48, 0x81, 0xec}, uint32(4*c.n+64)) // sub rsp
	all.body = append(all.body, 0x49, 0x89, 0xe4)       // mov r12, rsp
	all.body = append(all.body, c.body...)
	all.imm([]byte{0xb8}, unix.SYS_WRITE)
	all.imm([]byte{0xbf}, 1)
	all.body = append(all.body, 0x4c, 0x89, 0xe6) // mov rsi, r12
	all.imm([]byte{0xba}, uint32(4*c.n))
	all.body = append(all.body, 0x0f, 5)
	all.imm([]byte{0xb8}, unix.SYS_EXIT_GROUP)
	all.body = append(all.body, 0x31, 0xff, 0x0f, 5)
	return smallELF(64, "", all.body)
}

// bindable puts a program where the caller of rootctl can read it.
func (m *mode) bindable(t *testing.T, name string, program []byte) string {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: programs of a few instructions")
	}
	file := filepath.Join(filepath.Dir(m.probe), name)
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
