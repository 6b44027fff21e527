package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// wholeName is argv[0] with which the quick program executes the file again to have the whole one.
const wholeName = "rootctl:"

// entry is the file's first code. At a program's start the stack pointer leads to argc, argv[0] and argv[1]; all that
// is changed are registers that mean nothing there.
//
//	if argc < 2 or argv[0] begins with wholeName: whole
//	if argv[1] is "run" or "exec", and the user is root: quick, else whole
//
// Comparing four and eight bytes at a time reads no further than the stack goes: behind the words of the command line
// it has the environment, the program's name and eight zero bytes.
func entry(m elf.Machine, whole, quick uint64) ([]byte, error) {
	switch m {
	case elf.EM_X86_64:
		return entryAMD64(whole, quick), nil
	case elf.EM_AARCH64:
		return entryARM64(whole, quick), nil
	}
	return nil, fmt.Errorf("no entry for %v", m)
}

var (
	runWord  = binary.LittleEndian.Uint32([]byte("run\x00"))
	execWord = binary.LittleEndian.Uint32([]byte("exec"))
	nameWord = binary.LittleEndian.Uint64([]byte(wholeName))
)

func entryAMD64(whole, quick uint64) []byte {
	le := binary.LittleEndian
	var quickCode, wholeCode []byte // movabs rax, address; jmp rax
	quickCode = append(le.AppendUint64([]byte{0x48, 0xb8}, quick), 0xff, 0xe0)
	wholeCode = append(le.AppendUint64([]byte{0x48, 0xb8}, whole), 0xff, 0xe0)
	var b bytes.Buffer
	var toWhole, toQuick []int // places of distances still to be known
	jump := func(opcode byte, list *[]int) {
		b.Write([]byte{opcode, 0})
		*list = append(*list, b.Len())
	}
	b.Write([]byte{0x48, 0x83, 0x3c, 0x24, 0x02}) // cmp qword [rsp], 2
	jump(0x72, &toWhole)                          // jb
	b.Write([]byte{0x48, 0x8b, 0x44, 0x24, 0x08}) // mov rax, [rsp+8]
	b.Write(le.AppendUint64([]byte{0x48, 0xb9}, nameWord))
	b.Write([]byte{0x48, 0x39, 0x08})             // cmp [rax], rcx
	jump(0x74, &toWhole)                          // je
	b.Write([]byte{0x48, 0x8b, 0x44, 0x24, 0x10}) // mov rax, [rsp+16]
	b.Write([]byte{0x8b, 0x08})                   // mov ecx, [rax]
	b.Write(le.AppendUint32([]byte{0x81, 0xf9}, runWord))
	jump(0x74, &toQuick) // je
	b.Write(le.AppendUint32([]byte{0x81, 0xf9}, execWord))
	jump(0x75, &toWhole)                    // jne
	b.Write([]byte{0x80, 0x78, 0x04, 0x00}) // cmp byte [rax+4], 0
	jump(0x75, &toWhole)
	ask := b.Len()
	b.Write([]byte{0xb8, 107, 0, 0, 0, 0x0f, 0x05}) // geteuid, in eax
	b.Write([]byte{0x85, 0xc0})                     // test eax, eax
	jump(0x75, &toWhole)                            // jne
	code := b.Bytes()
	for _, from := range toQuick {
		code[from-1] = byte(ask - from)
	}
	for _, from := range toWhole {
		code[from-1] = byte(len(code) + len(quickCode) - from)
	}
	return append(append(code, quickCode...), wholeCode...)
}

func entryARM64(whole, quick uint64) []byte {
	const atAsk, atWhole, literals = 18, 23, 26 // numbers of instructions
	to := func(from, target int) uint32 { return uint32(target-from) & 0x7ffff << 5 }
	code := []uint32{
		0xf94003e1,                      // ldr x1, [sp]
		0xf100083f,                      // cmp x1, 2
		0x54000003 | to(2, atWhole),     // b.lo
		0xf94007e2,                      // ldr x2, [sp, 8]
		0xf9400043,                      // ldr x3, [x2]
		0x58000004 | to(5, literals),    // ldr x4, name
		0xeb04007f,                      // cmp x3, x4
		0x54000000 | to(7, atWhole),     // b.eq
		0xf9400be2,                      // ldr x2, [sp, 16]
		0xb9400043,                      // ldr w3, [x2]
		0x18000004 | to(10, literals+6), // ldr w4, run
		0x6b04007f,                      // cmp w3, w4
		0x54000000 | to(12, atAsk),      // b.eq
		0x18000004 | to(13, literals+7), // ldr w4, exec
		0x6b04007f,                      // cmp w3, w4
		0x54000001 | to(15, atWhole),    // b.ne
		0x39401043,                      // ldrb w3, [x2, 4]
		0x35000003 | to(17, atWhole),    // cbnz w3
		0xd28015e8,                      // mov x8, geteuid
		0xd4000001,                      // svc 0
		0x35000000 | to(20, atWhole),    // cbnz w0
		0x58000004 | to(21, literals+2), // ldr x4, quick
		0xd61f0080,                      // br x4
		0x58000004 | to(23, literals+4), // ldr x4, whole
		0xd61f0080,                      // br x4
		0xd503201f,                      // nop: the addresses begin at a multiple of eight
	}
	le := binary.LittleEndian
	var b []byte
	for _, c := range code {
		b = le.AppendUint32(b, c)
	}
	b = le.AppendUint64(b, nameWord)
	b = le.AppendUint64(b, quick)
	b = le.AppendUint64(b, whole)
	return le.AppendUint32(le.AppendUint32(b, runWord), execWord)
}
