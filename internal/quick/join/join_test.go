package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// build makes a program that says its name, with what surrounds it, and gives the file.
func build(t *testing.T, name string, more ...string) string {
	t.Helper()
	dir := t.TempDir()
	source := "package main\n\nimport (\n\t\"os\"\n\t\"strings\"\n)\n\nvar zero [1 << 20]byte\n\nfunc main() {\n\tprintln(\"" + name +
		"\", strings.Join(os.Args, \" \"), len(os.Environ()), zero[len(os.Args)])\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, name)
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", file}, more...), filepath.Join(dir, "main.go"))...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return file
}

// choices are command lines, and the program that the entry takes for each.
var choices = []struct {
	args []string
	want string
}{
	{[]string{"x", "run", "a"}, "quick"},
	{[]string{"x", "exec", "a"}, "quick"},
	{[]string{"rootctl", "run", "a", "b"}, "quick"},
	{[]string{"rootctl.", "run", "a"}, "quick"},
	{[]string{"", "run", "a"}, "quick"},
	{[]string{"x", "run", ""}, "quick"},
	{[]string{"x", "run", "--upper=tmpfs", "a"}, "quick"},
	{[]string{"x", "run", "--upper=disk", "--net=none", "--no-build", "a", "--here"}, "quick"},
	{[]string{"x", "run", "--upper", "disk", "--here"}, "quick"}, // which reads on by itself
	{[]string{"x", "run", "--net", "none", "a"}, "quick"},
	{[]string{"x", "run", "--env", "A=b", "a"}, "quick"},
	{[]string{"x", "exec", "--env=A=b", "--env=", "a"}, "quick"},
	{[]string{"x", "run"}, "whole"},
	{[]string{"x", "run", "--no-build"}, "whole"},
	{[]string{"x", "run", "--here", "a"}, "whole"},
	{[]string{"x", "run", "-"}, "whole"},
	{[]string{"x", "run", "--"}, "whole"},
	{[]string{"x", "run", "-d", "a"}, "whole"},
	{[]string{"x", "run", "--upper=tmpfs", "-d", "a"}, "whole"},
	{[]string{"x", "run", "--upper=tmpf", "a"}, "whole"},
	{[]string{"x", "run", "--upper=tmpfs:size=1GB", "a"}, "whole"},
	{[]string{"x", "run", "--net=nat", "a"}, "whole"},
	{[]string{"x", "run", "--no-build=true", "a"}, "whole"},
	{[]string{"x", "run", "--en", "a"}, "whole"},
	{[]string{"x", "run", "--env-file", "a"}, "whole"},
	{[]string{"x", "run", "\x01", "-\x01"}, "quick"},
	{[]string{"x", "run", "-\x01", "a"}, "whole"},
	{[]string{"x", "run", "--env=\x01", "a"}, "quick"},
	{[]string{"x", "exec", "-t", "a"}, "whole"},
	{[]string{wholeName, "run", "a", "b"}, "whole"},
	{[]string{wholeName + "inside:65536", "run", "a"}, "whole"},
	{[]string{"rootctl-inside:65536", "run", "a"}, "quick"},
	{[]string{wholeName + "x", "run", "a"}, "whole"},
	{[]string{"x"}, "whole"},
	{[]string{""}, "whole"},
	{[]string{"", ""}, "whole"},
	{[]string{"run", "a"}, "whole"},
	{[]string{"x", "ru", "a"}, "whole"},
	{[]string{"x", "runs", "a"}, "whole"},
	{[]string{"x", "execs", "a"}, "whole"},
	{[]string{"x", "exe", "a"}, "whole"},
	{[]string{"x", "-v", "run", "a"}, "whole"},
}

// The entry takes the quick program for the two verbs with the flags it knows, and not when that has executed the file.
func TestEntry(t *testing.T) {
	for arch, emulator := range map[string]string{"amd64": "qemu-x86_64-static", "arm64": "qemu-aarch64-static"} {
		t.Run(arch, func(t *testing.T) {
			t.Setenv("GOARCH", arch)
			one := filepath.Join(t.TempDir(), "one")
			if err := joinFiles(build(t, "whole"), build(t, "quick", "-ldflags=-s -w -T=0x10001000"), one); err != nil {
				t.Fatal(err)
			}
			if arch == runtime.GOARCH {
				testChoices(t, func(args []string) exec.Cmd { return exec.Cmd{Path: one, Args: args} })
				testOtherUser(t, one)
				testStripped(t, one)
				return
			}
			file, err := exec.LookPath(emulator)
			if err != nil {
				t.Logf("no %s here", emulator)
				return
			}
			testChoices(t, func(args []string) exec.Cmd {
				return exec.Cmd{Path: file, Args: append([]string{file, "-0", args[0], one}, args[1:]...)}
			})
		})
	}
}

func testChoices(t *testing.T, command func([]string) exec.Cmd) {
	for _, c := range choices {
		want := c.want
		if os.Geteuid() != 0 && len(c.args) > 1 && c.args[1] == "exec" { // for whom that is the whole program's
			want = "whole"
		}
		for _, env := range [][]string{{}, {"A=b", "C=d"}} {
			var errs bytes.Buffer
			cmd := command(c.args)
			cmd.Env, cmd.Stderr = env, &errs
			if err := cmd.Run(); err != nil {
				t.Errorf("%q: %v\n%s", c.args, err, errs.String())
			}
			if got := errs.String(); !strings.HasPrefix(got, want+" "+strings.Join(c.args, " ")) {
				t.Errorf("%q: %q, want %s", c.args, got, want)
			}
		}
	}
}

// testOtherUser has another user run it, whose exec is the whole program's.
func testOtherUser(t *testing.T, one string) {
	if os.Geteuid() == 0 {
		for _, d := range []string{filepath.Dir(one), filepath.Dir(filepath.Dir(one))} {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for verb, want := range map[string]string{"run": "quick", "exec": "whole"} {
			cmd := exec.Command(one, verb, "a")
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), want) {
				t.Errorf("as nobody: %s: %v, %q", verb, err, out)
			}
		}
	}
	if info, err := buildinfo.ReadFile(one); err != nil || info.Path == "" {
		t.Errorf("build information: %v, %v", info, err)
	}
}

// testStripped has strip copy the file: by its sections, so each byte that is needed is in one.
func testStripped(t *testing.T, one string) {
	if _, err := exec.LookPath("strip"); err != nil {
		t.Log("no strip here")
		return
	}
	if out, err := exec.Command("strip", one).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("strip: %v\n%s", err, out)
	}
	for word, want := range map[string]string{"run": "quick", "ls": "whole"} {
		if out, err := exec.Command(one, word, "a").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("stripped, %s: %v, %q", word, err, out)
		}
	}
}

// Equal parts make equal files, well-formed ones, for both architectures.
func TestJoin(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		t.Setenv("GOARCH", arch)
		w, err := readProgram(build(t, "whole"))
		if err != nil {
			t.Fatal(err)
		}
		q, err := readProgram(build(t, "quick", "-ldflags=-s -w -T=0x10001000"))
		if err != nil {
			t.Fatal(err)
		}
		one, err := join(w, q)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := join(w, q); err != nil || !bytes.Equal(one, again) {
			t.Errorf("%s: joined again it is another file (%v)", arch, err)
		}
		f, err := elf.NewFile(bytes.NewReader(one))
		if err != nil {
			t.Fatal(err)
		}
		last := uint64(0)
		for _, p := range f.Progs {
			if p.Type != elf.PT_LOAD {
				continue
			}
			if p.Vaddr < last || p.Off%p.Align != p.Vaddr%p.Align {
				t.Errorf("%s: segment %+v after %#x", arch, p.ProgHeader, last)
			}
			last = p.Vaddr + p.Memsz
		}
		for _, s := range f.Sections {
			if s.Type == elf.SHT_PROGBITS {
				if _, err := s.Data(); err != nil {
					t.Errorf("%s: section %s: %v", arch, s.Name, err)
				}
			}
		}
		if b, err := f.Section(".text").Data(); err != nil || !bytes.Contains(w.b, b) {
			t.Errorf("%s: the whole program's code has changed: %v", arch, err)
		}
		if _, err := join(w, w); err == nil || !strings.Contains(err.Error(), "overlap") {
			t.Errorf("%s: joined with itself: %v", arch, err)
		}
	}
}

func TestNoProgram(t *testing.T) {
	for name, b := range map[string][]byte{"empty": nil, "text": []byte("hello"), "head": []byte("\x7fELF\x02\x01")} {
		p := &program{b: b}
		if err := p.parse(); err == nil {
			t.Errorf("%s: taken for a program", name)
		}
	}
}
