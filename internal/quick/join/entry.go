package main

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
)

// wholeName is argv[0] with which the quick program executes the file again to have the whole one.
const wholeName = "rootctl:"

// words are the flags with which a command line goes to the quick program, each up to its NUL; one that ends with 1 is
// the beginning of a flag. Behind one whose value is the next word that program reads on by itself. An empty word ends them.
const words = "--upper=tmpfs\x00--upper=disk\x00--upper\x00--net=none\x00--net\x00--no-build\x00--env\x00--env=\x01\x00"

// entry is the file's first code. At a program's start the stack pointer leads to argc, argv[0], argv[1] and so on; all
// that is changed are registers that mean nothing there.
//
//	if argc < 2 or argv[0] begins with wholeName: whole
//	if argv[1] is neither "run" nor "exec", or the user is not root and it is "exec": whole
//	for each further word, until one that does not begin with '-': if it is none of words: whole
//	if there is no such word: whole, else quick
//
// Comparing four and eight bytes at a time reads no further than the stack goes: behind the words of the command line
// it has the environment, the program's name and eight zero bytes.
func entry(m elf.Machine, whole, quick uint64) ([]byte, error) {
	switch m {
	case elf.EM_X86_64:
		return entryAMD64(whole, quick).done()
	case elf.EM_AARCH64:
		return entryARM64(whole, quick).done()
	}
	return nil, fmt.Errorf("no entry for %v", m)
}

var (
	runWord  = binary.LittleEndian.Uint32([]byte("run\x00"))
	execWord = binary.LittleEndian.Uint32([]byte("exec"))
	nameWord = binary.LittleEndian.Uint64([]byte(wholeName))
)

// code is machine code in which a distance may be to a label further on.
type code struct {
	b      []byte
	labels map[string]int
	fixups []fixup
}

type fixup struct {
	at    int
	label string
	put   func(b []byte, at, target int) error
}

func (c *code) add(b ...byte)     { c.b = append(c.b, b...) }
func (c *code) label(name string) { c.labels[name] = len(c.b) }
func (c *code) quad(n uint64)     { c.b = binary.LittleEndian.AppendUint64(c.b, n) }
func (c *code) long(n uint32)     { c.b = binary.LittleEndian.AppendUint32(c.b, n) }
func (c *code) fix(f fixup, n int) {
	f.at = len(c.b)
	c.fixups = append(c.fixups, f)
	c.b = append(c.b, make([]byte, n)...)
}

func (c *code) done() ([]byte, error) {
	for _, f := range c.fixups {
		target, ok := c.labels[f.label]
		if !ok {
			return nil, fmt.Errorf("no label %s in the entry", f.label)
		}
		if err := f.put(c.b, f.at, target); err != nil {
			return nil, err
		}
	}
	return c.b, nil
}

func entryAMD64(whole, quick uint64) *code {
	c := &code{labels: map[string]int{}}
	jump := func(opcode byte, label string) {
		c.add(opcode)
		c.fix(fixup{label: label, put: func(b []byte, at, target int) error {
			d := target - at - 1
			b[at] = byte(d)
			if d != int(int8(d)) {
				return fmt.Errorf("%s is too far in the entry", label)
			}
			return nil
		}}, 1)
	}
	const je, jne, jb, jbe, jmp = 0x74, 0x75, 0x72, 0x76, 0xeb
	c.add(0x48, 0x83, 0x3c, 0x24, 0x02) // cmp qword [rsp], 2
	jump(jb, "whole")
	c.add(0x48, 0x8b, 0x44, 0x24, 0x08) // mov rax, [rsp+8]
	c.add(0x48, 0xb9)                   // movabs rcx, name
	c.quad(nameWord)
	c.add(0x48, 0x39, 0x08) // cmp [rax], rcx
	jump(je, "whole")
	c.add(0x48, 0x8b, 0x44, 0x24, 0x10) // mov rax, [rsp+16]
	c.add(0x8b, 0x08)                   // mov ecx, [rax]
	c.add(0x81, 0xf9)                   // cmp ecx, run
	c.long(runWord)
	jump(je, "flags")
	c.add(0x81, 0xf9) // cmp ecx, exec
	c.long(execWord)
	jump(jne, "whole")
	c.add(0x80, 0x78, 0x04, 0x00) // cmp byte [rax+4], 0
	jump(je, "ask")
	c.label("whole")
	c.add(0x48, 0xb8) // movabs rax, whole
	c.quad(whole)
	c.add(0xff, 0xe0) // jmp rax
	c.label("ask")
	c.add(0xb8, 107, 0, 0, 0, 0x0f, 0x05) // geteuid, in eax
	c.add(0x85, 0xc0)                     // test eax, eax
	jump(jne, "whole")
	c.label("flags")
	c.add(0x48, 0x8d, 0x54, 0x24, 0x18) // lea rdx, [rsp+24]
	c.label("next")
	c.add(0x48, 0x8b, 0x32)       // mov rsi, [rdx]
	c.add(0x48, 0x83, 0xc2, 0x08) // add rdx, 8
	c.add(0x48, 0x85, 0xf6)       // test rsi, rsi
	jump(je, "whole")
	c.add(0x80, 0x3e, '-') // cmp byte [rsi], '-'
	jump(jne, "quick")
	c.add(0x48, 0x8d, 0x3d) // lea rdi, [rip+words]
	c.fix(fixup{label: "words", put: func(b []byte, at, target int) error {
		binary.LittleEndian.PutUint32(b[at:], uint32(target-at-4))
		return nil
	}}, 4)
	c.label("word")
	c.add(0x48, 0x89, 0xf1) // mov rcx, rsi
	c.add(0x80, 0x3f, 0x00) // cmp byte [rdi], 0
	jump(je, "whole")
	c.label("char")
	c.add(0x8a, 0x07)       // mov al, [rdi]
	c.add(0x48, 0xff, 0xc7) // inc rdi
	c.add(0x3c, 0x01)       // cmp al, 1
	jump(je, "next")
	c.add(0x3a, 0x01) // cmp al, [rcx]
	jump(jne, "skip")
	c.add(0x48, 0xff, 0xc1) // inc rcx
	c.add(0x84, 0xc0)       // test al, al
	jump(jne, "char")
	jump(jmp, "next")
	c.label("skip")   // to the end of the word
	c.add(0x3c, 0x01) // cmp al, 1
	jump(jbe, "word")
	c.add(0x8a, 0x07)       // mov al, [rdi]
	c.add(0x48, 0xff, 0xc7) // inc rdi
	jump(jmp, "skip")
	c.label("quick")
	c.add(0x48, 0xb8) // movabs rax, quick
	c.quad(quick)
	c.add(0xff, 0xe0) // jmp rax
	c.label("words")
	c.b = append(c.b, words...)
	return c
}

func entryARM64(whole, quick uint64) *code {
	c := &code{labels: map[string]int{}}
	add := func(instructions ...uint32) {
		for _, n := range instructions {
			c.long(n)
		}
	}
	to := func(instruction uint32, label string) {
		c.fix(fixup{label: label, put: func(b []byte, at, target int) error {
			binary.LittleEndian.PutUint32(b[at:], instruction|uint32((target-at)/4)&0x7ffff<<5)
			return nil
		}}, 4)
	}
	const eq, ne, lo, ls, always = 0x54000000, 0x54000001, 0x54000003, 0x54000009, 0x5400000e // b.eq and so on
	add(0xf94003e1, 0xf100083f)                                                               // ldr x1, [sp]; cmp x1, 2
	to(lo, "whole")
	add(0xf94007e2, 0xf9400043) // ldr x2, [sp, 8]; ldr x3, [x2]
	to(0x58000004, "name")      // ldr x4, name
	add(0xeb04007f)             // cmp x3, x4
	to(eq, "whole")
	add(0xf9400be2, 0xb9400043) // ldr x2, [sp, 16]; ldr w3, [x2]
	to(0x18000004, "run")       // ldr w4, run
	add(0x6b04007f)             // cmp w3, w4
	to(eq, "flags")
	to(0x18000004, "exec") // ldr w4, exec
	add(0x6b04007f)        // cmp w3, w4
	to(ne, "whole")
	add(0x39401043)         // ldrb w3, [x2, 4]
	to(0x35000003, "whole") // cbnz w3
	c.label("ask")
	add(0xd28015e8, 0xd4000001) // mov x8, geteuid; svc 0
	to(0x35000000, "whole")     // cbnz w0
	c.label("flags")
	add(0x910063e2) // add x2, sp, 24
	c.label("next")
	add(0xf8408443)                     // ldr x3, [x2], 8
	to(0xb4000003, "whole")             // cbz x3
	add(0x39400064, 0x7100009f|'-'<<10) // ldrb w4, [x3]; cmp w4, '-'
	to(ne, "quick")
	to(0x10000005, "words") // adr x5, words
	c.label("word")
	add(0xaa0303e6, 0x394000a4) // mov x6, x3; ldrb w4, [x5]
	to(0x34000004, "whole")     // cbz w4
	c.label("char")
	add(0x384014a4, 0x7100049f) // ldrb w4, [x5], 1; cmp w4, 1
	to(eq, "next")
	add(0x384014c7, 0x6b07009f) // ldrb w7, [x6], 1; cmp w4, w7
	to(ne, "skip")
	to(0x35000004, "char") // cbnz w4
	to(always, "next")
	c.label("skip") // to the end of the word
	add(0x7100049f) // cmp w4, 1
	to(ls, "word")
	add(0x384014a4) // ldrb w4, [x5], 1
	to(always, "skip")
	c.label("quick")
	to(0x58000004, "to quick") // ldr x4, quick
	add(0xd61f0080)            // br x4
	c.label("whole")
	to(0x58000004, "to whole")          // ldr x4, whole
	add(0xd61f0080)                     // br x4
	c.add(make([]byte, -len(c.b)&7)...) // the addresses begin at a multiple of eight
	c.label("name")
	c.quad(nameWord)
	c.label("to quick")
	c.quad(quick)
	c.label("to whole")
	c.quad(whole)
	c.label("run")
	c.long(runWord)
	c.label("exec")
	c.long(execWord)
	c.label("words")
	c.b = append(c.b, words...)
	return c
}
