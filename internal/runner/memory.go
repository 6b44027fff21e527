package runner

import (
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Memory is a directory with an empty file system in memory.
type Memory struct {
	Path string `json:"path"`
	Size int64  `json:"size,omitempty"` // bytes; 0: half of the machine's memory
	Mode uint32 `json:"mode,omitempty"` // 0: 01777 for /tmp and /var/tmp, else 0755
}

// memories are all file systems in memory: those of Tmpfs, as Memory has them if it does, and then the rest of Memory.
func (s *Spec) memories() []Memory {
	var list []Memory
	named := make(map[string]bool, len(s.Memory))
	for _, m := range s.Memory {
		named[m.Path] = true
	}
	for _, t := range s.Tmpfs {
		if t = path.Clean(t); !named[t] {
			list = append(list, Memory{Path: t})
		}
	}
	return append(list, s.Memory...)
}

func (s *Spec) checkMemory() error {
	at := make(map[string]bool, len(s.Memory))
	for _, m := range s.Memory {
		bad := func(hint, format string, a ...any) error {
			return &SpecError{Problem: fmt.Sprintf("tmpfs at %q: ", m.Path) + fmt.Sprintf(format, a...), Fix: hint}
		}
		switch {
		case !path.IsAbs(m.Path) || path.Clean(m.Path) != m.Path || m.Path == "/":
			return bad("use an absolute path below /", "it is no place inside")
		case strings.IndexByte(m.Path, 0) >= 0:
			return bad("leave it out", "it has a NUL byte")
		case kernels(m.Path):
			return bad(kernelsHint, "%s", kernelsProblem)
		case at[m.Path]:
			return bad("give it once", "it is given twice")
		case m.Size < 0 || m.Mode > 0o7777:
			return bad("give a size in bytes and a mode like 1777", "its size is %d and its mode %o", m.Size, m.Mode)
		}
		at[m.Path] = true
	}
	return nil
}

const kernelsProblem, kernelsHint = "the kernel's own files are there", "use a place of its own"

// kernels says of a clean path that what is mounted there would hide what every program relies on.
func kernels(p string) bool {
	in := func(dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
	return p == "/dev" || in("/proc") || in("/sys")
}

func (s *Spec) planMemory(p Plan, m Memory) Plan {
	mode := m.Mode
	if mode == 0 {
		mode = 0o755
		if m.Path == "/tmp" || m.Path == "/var/tmp" {
			mode = 0o1777
		}
	}
	options := []string{fmt.Sprintf("mode=%o", mode)}
	if m.Size > 0 {
		options = append(options, fmt.Sprintf("size=%d", m.Size))
	}
	p = append(p, Op{Verb: VerbMount, Type: "tmpfs", Target: m.Path, Attrs: attrsPlain, Options: options, Replace: s.Dir == ""})
	if m.Path == "/run" {
		p = append(p, Op{Verb: VerbDir, Target: "/run/lock", Mode: 0o1777}) // where /var/lock points to
	}
	return p
}

// upperInMemory is a file system in memory for what a copy changes.
func (c *container) upperInMemory(op Op) (int, error) {
	options := []string{"mode=755"}
	if c.spec.Limits.Memory > 0 {
		c.note("what the copy changes is kept in memory and counts for the limit of memory")
	}
	if n := c.spec.UpperSize; n > 0 {
		options = append(options, fmt.Sprintf("size=%d", n))
	}
	fd, err := newFS(op, "tmpfs", 0, options...)
	if err != nil || !c.spec.Nested {
		return fd, err
	}
	// The overlay marks replaced directories with a user's attribute, which files in memory have since Linux 6.6.
	dir, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Fsetxattr(dir, "user.overlay.probe", []byte("y"), 0)
		unix.Close(dir)
	}
	if err != nil {
		unix.Close(fd)
		return -1, &SpecError{Problem: fmt.Sprintf("keep what an ordinary user's copy changes in memory: %v", err), Fix: "this kernel is older than 6.6: keep it on disk (--upper=disk)"}
	}
	return fd, nil
}
