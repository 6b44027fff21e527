package runner

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inFilter changes the instructions of the filter of system calls.
func inFilter(change func(f []unix.SockFilter)) weakening {
	return weakening{calls: func(t *table) {
		for _, k := range t.keep {
			if f, is := k.([]unix.SockFilter); is {
				change(f)
			}
		}
	}}
}

// instead puts another number in the place of one that the filter compares with.
func instead(code uint16, k, other uint32) func([]unix.SockFilter) {
	return func(f []unix.SockFilter) {
		for i := range f {
			if f[i].Code == code && f[i].K == k {
				f[i].K = other
			}
		}
	}
}

func moreWeakenings() map[string]weakening {
	return map[string]weakening{
		"filter of i386's calls": inFilter(func(f []unix.SockFilter) {
			instead(bpfEqual, unix.AUDIT_ARCH_I386, 1)(f)
			f[len(f)-1] = retAllow
		}),
		"flags of clone":         inFilter(instead(bpfSet, newNamespaces, 0)),
		"typing into a terminal": inFilter(instead(bpfEqual, unix.TIOCSTI, 1)),
		"read-only bind":         allowing(VerbBindSrc, "", unix.MOUNT_ATTR_RDONLY),
	}
}

func moreGuardChecks() []guardCheck {
	number := func(n uint32) []byte { return []byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)} }
	// A program that makes one call and fails if that does.
	call := func(code ...byte) []byte {
		return append(code, 0xc1, 0xe8, 31, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5)
	}
	unshare := call(append(append([]byte{0xb8, 0x36, 1, 0, 0, 0xbb}, number(unix.CLONE_NEWUSER)...), 0xcd, 0x80)...)
	clone := call(append(append([]byte{0xb8, 56, 0, 0, 0, 0xbf}, number(unix.CLONE_NEWUSER|uint32(unix.SIGCHLD))...),
		0x31, 0xf6, 0x31, 0xd2, 0x4d, 0x31, 0xd2, 0x4d, 0x31, 0xc0, 0x0f, 5)...)
	// It fails if the error is EPERM: there is no terminal to type into.
	typing := append(append([]byte{0xb8, 16, 0, 0, 0, 0x31, 0xff, 0xbe}, number(unix.TIOCSTI)...),
		0x31, 0xd2, 0x0f, 5, 0xf7, 0xd8, 0x31, 0xff, 0x83, 0xf8, 1, 0x40, 0x0f, 0x94, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5)
	return []guardCheck{
		{guard: "filter of i386's calls", prepare: boundProgram(unshare), script: "/mnt/probe && echo REACHED"},
		{guard: "flags of clone", prepare: boundProgram(clone), script: "/mnt/probe && echo REACHED"},
		{guard: "typing into a terminal", prepare: boundProgram(typing), script: "/mnt/probe && echo REACHED"},
		{guard: "limit of processes", prepare: func(_ *testing.T, s *Spec) { s.Limits.Pids = 20 }, off: func(s *Spec) { s.Limits = Limits{} },
			script: many + "; n=0; for p in /proc/[0-9]*; do n=$((n+1)); done; test $n -gt 50 && echo REACHED"},
		{guard: "limit of memory", prepare: func(_ *testing.T, s *Spec) { s.Limits.Memory = 64 << 20 }, off: func(s *Spec) { s.Limits = Limits{} },
			script: hog + " && echo REACHED"},
		{guard: "read-only bind", prepare: func(t *testing.T, s *Spec) { s.Binds = []Bind{{Src: t.TempDir(), Dst: "/mnt", ReadOnly: true}} },
			script: ": > /mnt/made && echo REACHED"},
		{guard: "host name's namespace", prepare: hostUsers, off: func(s *Spec) { s.Share = []string{"uts"} },
			script: "read h < /proc/sys/kernel/hostname; test $h != rootctl && echo REACHED"},
		{guard: "private binds", prepare: mountsOfHost, // the other direction
			script: "sleep $MARK & while ! test -e /mnt/go; do sleep 0.01; done; test -e /mnt/sub/made && echo REACHED; kill $!; wait $!; while test -e /mnt/go; do sleep 0.01; done"},
	}
}

// boundProgram binds a program of a few instructions.
func boundProgram(code []byte) func(*testing.T, *Spec) {
	return func(t *testing.T, s *Spec) {
		if runtime.GOARCH != "amd64" {
			t.Skip("needs amd64: a program of a few instructions")
		}
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "probe"), tinyELF(2, code), 0o755); err != nil {
			t.Fatal(err)
		}
		s.Binds = []Bind{{Src: dir, Dst: "/mnt"}}
	}
}

// mountsOfHost mounts something below a bound folder once the container runs, in each of two runs. A run ends when that has been
// undone, or the second might begin before anybody saw that the first has ended.
func mountsOfHost(t *testing.T, s *Spec) {
	sharedBind(t, s)
	dir, mark := s.Binds[0].Src, sleeper()
	s.Env = append(s.Env, "MARK="+mark)
	sub, first := filepath.Join(dir, "sub"), filepath.Join(dir, "go")
	done := make(chan struct{})
	wait := func(running bool) {
		for end := time.Now().Add(patience); (len(sleeping(t, mark)) > 0) != running && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	go func() {
		defer close(done)
		for range 2 {
			wait(true)
			err := errors.Join(unix.Mount("x", sub, "tmpfs", 0, ""), os.WriteFile(filepath.Join(sub, "made"), nil, 0o644), os.WriteFile(first, nil, 0o644))
			if err != nil {
				t.Error(err)
			}
			wait(false)
			unix.Unmount(sub, unix.MNT_DETACH)
			os.Remove(first)
		}
	}()
	t.Cleanup(func() { <-done })
}
