package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

const (
	ehdrSize = 64
	phdrSize = 56
	shdrSize = 64
	pageSize = 0x10000 // the largest of any machine: alignment of segments in the file
)

// program is a static ELF file of 64 bits, little-endian.
type program struct {
	name     string
	b        []byte
	head     elf.Header64
	segments []elf.Prog64
	sections []elf.Section64
	names    []byte // of the sections
}

func readProgram(name string) (*program, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p := &program{name: name, b: b}
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func (p *program) parse() error {
	if err := at(p.b, 0, &p.head); err != nil {
		return err
	}
	h := &p.head
	if !bytes.HasPrefix(p.b, []byte("\x7fELF\x02\x01")) || elf.Type(h.Type) != elf.ET_EXEC || h.Phoff != ehdrSize || h.Phentsize != phdrSize || h.Shentsize != shdrSize {
		return errors.New("no program as Go links it without cgo")
	}
	p.segments = make([]elf.Prog64, h.Phnum)
	p.sections = make([]elf.Section64, h.Shnum)
	if err := at(p.b, h.Phoff, p.segments); err != nil {
		return err
	}
	if err := at(p.b, h.Shoff, p.sections); err != nil {
		return err
	}
	for _, s := range p.segments {
		switch elf.ProgType(s.Type) {
		case elf.PT_INTERP, elf.PT_DYNAMIC, elf.PT_TLS:
			return errors.New("it is not static: build it with CGO_ENABLED=0")
		case elf.PT_LOAD:
			if s.Off+s.Filesz > uint64(len(p.b)) || s.Filesz > s.Memsz {
				return errors.New("a segment is not in the file")
			}
		}
	}
	if int(h.Shstrndx) >= len(p.sections) {
		return errors.New("no names of sections")
	}
	n := p.sections[h.Shstrndx]
	if n.Off+n.Size > uint64(len(p.b)) {
		return errors.New("no names of sections")
	}
	p.names = p.b[n.Off : n.Off+n.Size]
	return nil
}

func at(b []byte, off uint64, v any) error {
	if off > uint64(len(b)) {
		return errors.New("the file is too short")
	}
	return binary.Read(bytes.NewReader(b[off:]), binary.LittleEndian, v)
}

func (p *program) loads() []elf.Prog64 {
	var l []elf.Prog64
	for _, s := range p.segments {
		if elf.ProgType(s.Type) == elf.PT_LOAD {
			l = append(l, s)
		}
	}
	return l
}

// gap is what of the first segment no section has, behind the program headers.
func (p *program) gap() (from, to uint64) {
	from, to = p.head.Phoff+uint64(p.head.Phnum)*phdrSize, pageSize
	for _, s := range p.sections {
		if elf.SectionFlag(s.Flags)&elf.SHF_ALLOC != 0 && elf.SectionType(s.Type) != elf.SHT_NOBITS {
			to = min(to, s.Off)
		}
	}
	return from, to
}

// join gives the one file.
func join(w, q *program) ([]byte, error) {
	wl, ql := w.loads(), q.loads()
	switch {
	case w.head.Machine != q.head.Machine:
		return nil, errors.New("the programs are of two architectures")
	case len(wl) == 0 || len(ql) == 0 || wl[0].Off != 0:
		return nil, errors.New("no segments")
	case wl[len(wl)-1].Vaddr+wl[len(wl)-1].Memsz+pageSize > ql[0].Vaddr:
		return nil, errors.New("the programs' addresses overlap: link the quick one with a larger -T")
	}
	stub, err := entry(elf.Machine(w.head.Machine), w.head.Entry, q.head.Entry)
	if err != nil {
		return nil, err
	}
	out := bytes.Clone(w.b)
	segments, sections, names := w.segments, w.sections, bytes.Clone(w.names)
	addSection := func(name string, s elf.Section64) {
		s.Name = uint32(len(names))
		names = append(append(names, name...), 0)
		sections = append(sections, s)
	}
	for i, s := range ql {
		off := pad(uint64(len(out)), pageSize) + s.Vaddr%pageSize
		out = append(out, make([]byte, off-uint64(len(out)))...)
		out = append(out, q.b[s.Off:s.Off+s.Filesz]...)
		addSections(addSection, i, s, off)
		s.Off = off
		segments = append(segments, s)
	}
	return finish(w, out, segments, sections, names, stub)
}

// addSections describes a segment of the quick program: what is in the file, and what is zero.
func addSections(add func(string, elf.Section64), i int, s elf.Prog64, off uint64) {
	flags := elf.SHF_ALLOC
	if elf.ProgFlag(s.Flags)&elf.PF_X != 0 {
		flags |= elf.SHF_EXECINSTR
	}
	if elf.ProgFlag(s.Flags)&elf.PF_W != 0 {
		flags |= elf.SHF_WRITE
	}
	add(fmt.Sprintf(".quick.%d", i), elf.Section64{Type: uint32(elf.SHT_PROGBITS), Flags: uint64(flags), Addr: s.Vaddr, Off: off, Size: s.Filesz, Addralign: 1})
	if s.Memsz > s.Filesz {
		add(fmt.Sprintf(".quick.%d.bss", i), elf.Section64{Type: uint32(elf.SHT_NOBITS), Flags: uint64(flags), Addr: s.Vaddr + s.Filesz,
			Off: off + s.Filesz, Size: s.Memsz - s.Filesz, Addralign: 1})
	}
}

// finish writes the headers.
func finish(w *program, out []byte, segments []elf.Prog64, sections []elf.Section64, names, stub []byte) ([]byte, error) {
	_, gapEnd := w.gap()
	stubOff := pad(ehdrSize+uint64(len(segments))*phdrSize, 16)
	if stubOff+uint64(len(stub)) > gapEnd {
		return nil, fmt.Errorf("no room behind the program headers: %d bytes to %d", stubOff, gapEnd)
	}
	base := w.loads()[0].Vaddr
	name := uint32(len(names))
	names = append(names, ".entry\x00"...)
	sections = append(sections, elf.Section64{Name: name, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_ALLOC | elf.SHF_EXECINSTR),
		Addr: base + stubOff, Off: stubOff, Size: uint64(len(stub)), Addralign: 16})
	for i := range segments {
		if elf.ProgType(segments[i].Type) == elf.PT_PHDR {
			segments[i].Filesz = uint64(len(segments)) * phdrSize
			segments[i].Memsz = segments[i].Filesz
		}
	}
	h := w.head
	h.Entry, h.Phnum, h.Shnum = base+stubOff, uint16(len(segments)), uint16(len(sections))
	sections[h.Shstrndx].Off, sections[h.Shstrndx].Size = uint64(len(out)), uint64(len(names))
	out = append(out, names...)
	h.Shoff = pad(uint64(len(out)), 8)
	out = append(out, make([]byte, h.Shoff-uint64(len(out)))...)
	var table bytes.Buffer
	if err := binary.Write(&table, binary.LittleEndian, sections); err != nil {
		return nil, err
	}
	out = append(out, table.Bytes()...)
	clear(out[ehdrSize:gapEnd])
	var head bytes.Buffer
	if err := errors.Join(binary.Write(&head, binary.LittleEndian, h), binary.Write(&head, binary.LittleEndian, segments)); err != nil {
		return nil, err
	}
	copy(out, head.Bytes())
	copy(out[stubOff:], stub)
	return out, nil
}

func pad(n, to uint64) uint64 { return (n + to - 1) / to * to }
