package runner

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNoFsync(t *testing.T) {
	const script = "sync /dev/null 2>/dev/null && echo suppressed || echo refused" // fsync of a device is EINVAL
	for _, userns := range []string{"own", "host"} {
		s := shell(t, script)
		s.UserNS = userns
		if got := must(t, s); got != "refused\n" {
			t.Skipf("needs a sync(1) that calls fsync: %q", got)
		}
		s.NoFsync = true
		if got := must(t, s); got != "suppressed\n" {
			t.Errorf("userns %s: %q", userns, got)
		}
	}
}

// tinyELF is a program of a few instructions for one of the two x86 word sizes.
func tinyELF(class byte, code []byte) []byte {
	le := binary.LittleEndian
	b := []byte{0x7f, 'E', 'L', 'F', class, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = le.AppendUint16(b, 2) // executable
	const base = 0x400000
	if class == 1 {
		b = le.AppendUint16(b, 3)
		for _, v := range []uint32{1, base + 84, 52, 0, 0} {
			b = le.AppendUint32(b, v)
		}
		for _, v := range []uint16{52, 32, 1, 0, 0, 0} {
			b = le.AppendUint16(b, v)
		}
		for _, v := range []uint32{1, 0, base, base, 4096, 4096, 5, 4096} {
			b = le.AppendUint32(b, v)
		}
	} else {
		b = le.AppendUint16(b, 62)
		b = le.AppendUint32(b, 1)
		for _, v := range []uint64{base + 120, 64, 0} {
			b = le.AppendUint64(b, v)
		}
		b = le.AppendUint32(b, 0)
		for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
			b = le.AppendUint16(b, v)
		}
		b = le.AppendUint32(b, 1)
		b = le.AppendUint32(b, 5)
		for _, v := range []uint64{0, base, base, 4096, 4096, 4096} {
			b = le.AppendUint64(b, v)
		}
	}
	return append(append(b, code...), make([]byte, 4096)...)[:4096]
}

// TestNoFsyncForOtherTables calls fsync(999) by the i386 and the x32 number; the exit code is the error.
func TestNoFsyncForOtherTables(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: other system call tables of the same processor")
	}
	root := copyRoot(t)
	programs := map[string][]byte{
		"native": tinyELF(2, []byte{0xb8, 74, 0, 0, 0, 0xbf, 0xe7, 3, 0, 0, 0x0f, 5, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5}),
		"x32":    tinyELF(2, []byte{0xb8, 74, 0, 0, 0x40, 0xbf, 0xe7, 3, 0, 0, 0x0f, 5, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5}),
		"i386":   tinyELF(1, []byte{0xb8, 118, 0, 0, 0, 0xbb, 0xe7, 3, 0, 0, 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80}),
		// i386's number of fsync is getresuid in the native table, which fails here with EFAULT: a filter that did not
		// look at the architecture would make it succeed.
		"getresuid": tinyELF(2, []byte{0xb8, 118, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 1, 0, 0, 0, 0xba, 1, 0, 0, 0, 0x0f, 5, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5}),
	}
	for name, b := range programs {
		if err := os.WriteFile(filepath.Join(root, "bin", name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name := range programs {
		s := Spec{Lower: []string{root}, Argv: []string{"/bin/" + name}, Seccomp: "none"} // which refuses x32
		plain := try(t, s, Options{})
		s.NoFsync = true
		quiet := try(t, s, Options{})
		if plain.failure != nil && strings.Contains(plain.failure.Error(), "not a program") {
			t.Logf("%s: this kernel runs no such programs", name)
			continue
		}
		want := 0
		if name == "getresuid" {
			want = int(unix.EFAULT)
		}
		if plain.status.Code == 0 || quiet.status.Code != want {
			t.Errorf("%s: without filter %+v, with %+v", name, plain.status, quiet.status)
		}
	}
}

// TestFsyncProgram runs the filter on every number of every table it knows.
func TestFsyncProgram(t *testing.T) {
	tables := []fsyncNumbers{{0xc000003e, 0x40000000, [6]uint32{74, 75, 162, 306, 26, 277}}, {0x40000003, 0, [6]uint32{118, 148, 36, 344, 144, 314}}}
	prog := fsyncProgram(tables)
	for i, tab := range tables {
		for nr := range uint32(600) {
			want := uint32(unix.SECCOMP_RET_ALLOW)
			for _, n := range tab.numbers {
				if n == nr {
					want = unix.SECCOMP_RET_ERRNO
				}
			}
			if got := runBPF(t, prog, nr, tab.arch); got != want {
				t.Errorf("table %d number %d: %#x, want %#x", i, nr, got, want)
			}
			if i == 0 {
				if got := runBPF(t, prog, nr|0x40000000, tab.arch); got != want {
					t.Errorf("x32 number %d: %#x, want %#x", nr, got, want)
				}
			}
			if got := runBPF(t, prog, nr, 0x1234); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("unknown architecture: %#x", got)
			}
		}
	}
}

// runBPF is the part of classic BPF that the filter uses.
func runBPF(t *testing.T, prog []unix.SockFilter, nr, arch uint32) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		f := prog[pc]
		switch f.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = map[uint32]uint32{0: nr, 4: arch}[f.K]
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= f.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == f.K {
				pc += int(f.Jt)
			} else {
				pc += int(f.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return f.K
		default:
			t.Fatalf("instruction %#x", f.Code)
		}
	}
	t.Fatal("ran off the end")
	return 0
}
