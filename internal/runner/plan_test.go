package runner

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestPlan(t *testing.T) {
	ids := IDRange{firstID, blockID}
	for name, s := range map[string]Spec{
		"run": {Lower: []string{"/cache/root"}, Work: "/cache/tmp/x", Argv: []string{"bash"}, TTY: true, IDs: ids,
			Binds: []Bind{{Src: "/"}, {Src: "/", Dst: "/host", ReadOnly: true}, {Src: "/etc/passwd", Dst: "/p", Identity: true}}},
		"build":  {Dir: "/cache/tmp/x/tree", Argv: []string{"dpkg", "--configure", "-a"}, UserNS: "host", NoFsync: true, DevNodes: []string{".devfsd"}},
		"host":   {Lower: []string{"/a", "/b"}, Argv: []string{"true"}, UserNS: "own", IDs: ids, Net: "host", Tmpfs: []string{"/var/tmp"}},
		"range":  {Lower: []string{"/a"}, Argv: []string{"true"}, Nested: true, IDs: IDRange{Size: 65537}, Binds: []Bind{{Src: "/", Dst: "/all"}}},
		"single": {Dir: "/a", Argv: []string{"true"}, Nested: true, IDs: IDRange{Size: 1}, RecordOwners: true},
		"foreign": {Lower: []string{"/a"}, Argv: []string{"true"}, IDs: ids, Linux32: true, Format: &Format{Name: "qemu-x", Interpreter: "/usr/bin/qemu-x",
			Magic: []byte("\x7fELF"), Mask: []byte("\xff\xff\xff\xff"), Optional: true}},
	} {
		if name == "run" {
			s.Binds[0].Dst = "/all"
		}
		t.Run(name, func(t *testing.T) {
			p, err := s.Plan()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "plan", name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, []byte(p.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), p.String()); d != "" {
				t.Error(d)
			}
			tab, err := (&s).lower(p, inherited{stdio: [3]int{0, 1, 2}, socket: 7, errors: 9, maxFiles: 4096})
			if err != nil {
				t.Fatal(err)
			}
			checkTable(t, tab)
		})
	}
}

// checkTable looks for what would make the child run off: slots that nothing wrote, jumps out of the table.
func checkTable(t *testing.T, tab *table) {
	t.Helper()
	written := map[slot]bool{}
	for i, c := range tab.calls {
		for j, a := range c.arg {
			if c.ref&(1<<j) != 0 && !written[slot(a)] {
				t.Errorf("call %d (%s) reads slot %d before it is written", i, tab.name[i], a)
			}
		}
		written[c.out] = true
		if c.kind == kindIf {
			if int(c.jump) > len(tab.calls) {
				t.Errorf("call %d (%s) goes to %d of %d", i, tab.name[i], c.jump, len(tab.calls))
			}
			continue
		}
		if end := i + 1 + int(c.jump); end > len(tab.calls) {
			t.Errorf("call %d (%s) skips to %d of %d", i, tab.name[i], end, len(tab.calls))
		}
	}
	if last := tab.calls[len(tab.calls)-1]; last.kind != kindFail {
		t.Error("the table does not end with a failure")
	}
}

func TestBadSpecs(t *testing.T) {
	ok := Spec{Lower: []string{"/x"}, Argv: []string{"true"}, IDs: IDRange{firstID, blockID}}
	if _, err := ok.Plan(); err != nil {
		t.Fatal(err)
	}
	for summary, spoil := range map[string]func(*Spec){
		"no root":           func(s *Spec) { s.Lower = nil },
		"two roots":         func(s *Spec) { s.Dir = "/y" },
		"no command":        func(s *Spec) { s.Argv = nil },
		"empty command":     func(s *Spec) { s.Argv = []string{""} },
		"user namespace":    func(s *Spec) { s.UserNS = "other" },
		"network":           func(s *Spec) { s.Net = "bridge" },
		"no ids":            func(s *Spec) { s.IDs = IDRange{} },
		"ids of the host":   func(s *Spec) { s.IDs.Base = 0 },
		"ids too high":      func(s *Spec) { s.IDs.Base = 1 << 31 },
		"relative workdir":  func(s *Spec) { s.Workdir = "x" },
		"long host name":    func(s *Spec) { s.Hostname = strings.Repeat("x", 65) },
		"relative target":   func(s *Spec) { s.Binds = []Bind{{Src: "/", Dst: "x"}} },
		"target is root":    func(s *Spec) { s.Binds = []Bind{{Src: "/", Dst: "/x/.."}} },
		"no source":         func(s *Spec) { s.Binds = []Bind{{Dst: "/x"}} },
		"missing source":    func(s *Spec) { s.Binds = []Bind{{Src: "/no/such", Dst: "/x"}} },
		"two in one place":  func(s *Spec) { s.Binds = []Bind{{Src: "/", Dst: "/x"}, {Src: "/etc", Dst: "/y/../x/"}} },
		"too many binds":    func(s *Spec) { s.Binds = make([]Bind, 200) },
		"node with a slash": func(s *Spec) { s.DevNodes = []string{"../x"} },
		"tmpfs on root":     func(s *Spec) { s.Tmpfs = []string{"/"} },
		"NUL":               func(s *Spec) { s.Env = []string{"A=\x00"} },
	} {
		s := ok
		spoil(&s)
		_, err := s.Plan()
		var se *SpecError
		if !errors.As(err, &se) || se.Hint() == "" {
			t.Errorf("%s: %v", summary, err)
		}
	}
}

func TestCapBits(t *testing.T) {
	bits, err := capBits(DefaultCaps())
	if err != nil || bits != 0xa80425fb {
		t.Errorf("%#x %v", bits, err)
	}
	if n, ok := capNumber("checkpoint_restore"); !ok || n != unix.CAP_CHECKPOINT_RESTORE {
		t.Errorf("%d %v", n, ok)
	}
	if _, err := capBits([]string{"CAP_NOTHING"}); err == nil {
		t.Error("no error")
	}
}

func TestHints(t *testing.T) {
	for _, e := range []*StepError{
		{Op: Op{Verb: VerbClone}, Call: "clone", Err: unix.EPERM},
		{Op: Op{Verb: VerbOverlay}, Call: "mount_setattr", Err: unix.EINVAL},
		{Op: Op{Verb: VerbMount, Type: "proc", Target: "/proc"}, Call: "fsmount", Err: unix.EPERM},
		{Op: Op{Verb: VerbMount, Type: "tmpfs", Target: "/dev"}, Call: "openat2", Err: unix.ELOOP},
		{Op: Op{Verb: VerbBind, Source: "/a", Target: "/b"}, Call: "move_mount", Err: unix.EPERM},
	} {
		if e.Hint() == "" || !strings.Contains(e.Error(), e.Call+": "+e.Err.Error()) || !strings.HasPrefix(e.Error(), string(e.Op.Verb)) {
			t.Errorf("%v: hint %q", e, e.Hint())
		}
	}
}

// A directory on a file, or the other way round, is said in words: the kernel's are "invalid argument".
func TestOtherKind(t *testing.T) {
	for kind, want := range map[string][2]string{"file": {"a directory is there", "--bind SRC:/etc/f"}, "dir": {"a file is there", "another place"}} {
		e := &StepError{Op: Op{Verb: VerbBind, Type: kind, Source: "/src/f", Target: "/etc"}, Call: "move_mount", Err: unix.EINVAL}
		if e.Error() != "bind "+kind+" /src/f at /etc: "+want[0] || !strings.Contains(e.Hint(), want[1]) {
			t.Errorf("%v: hint %q", e, e.Hint())
		}
	}
}

// TestCommandHints: what helps depends on how the command was looked for.
func TestCommandHints(t *testing.T) {
	for name, want := range map[string]string{
		"x": "PATH inside", "./x": "./x is looked for in the working directory inside", "a/x": "--workdir", "/x": "not on the host",
	} {
		if h := (&CommandError{Name: name, Code: 127, Err: unix.ENOENT}).Hint(); !strings.Contains(h, want) {
			t.Errorf("%s: %q", name, h)
		}
	}
}
