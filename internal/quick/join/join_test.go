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

// The entry takes the quick program for the two words alone, and not when that has executed the file.
func TestEntry(t *testing.T) {
	if runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skipf("no entry for %s", runtime.GOARCH)
	}
	whole, quick := build(t, "whole"), build(t, "quick", "-ldflags=-s -w -T=0x10001000")
	one := filepath.Join(t.TempDir(), "one")
	if err := joinFiles(whole, quick, one); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"x", "run"}, "quick"},
		{[]string{"x", "exec", "a"}, "quick"},
		{[]string{"rootctl", "run", "a", "b"}, "quick"},
		{[]string{"rootctl.", "run"}, "quick"},
		{[]string{wholeName, "run", "a", "b"}, "whole"},
		{[]string{wholeName + "x", "run"}, "whole"},
		{[]string{"x"}, "whole"},
		{[]string{""}, "whole"},
		{[]string{"", ""}, "whole"},
		{[]string{"", "run"}, "quick"},
		{[]string{"run"}, "whole"},
		{[]string{"x", "ru"}, "whole"},
		{[]string{"x", "runs"}, "whole"},
		{[]string{"x", "execs"}, "whole"},
		{[]string{"x", "exe"}, "whole"},
		{[]string{"x", "-v", "run"}, "whole"},
	} {
		for _, env := range [][]string{{}, {"A=b", "C=d"}} {
			var errs bytes.Buffer
			cmd := exec.Cmd{Path: one, Args: c.args, Env: env, Stderr: &errs}
			if err := cmd.Run(); err != nil {
				t.Errorf("%q: %v\n%s", c.args, err, errs.String())
			}
			if got := errs.String(); !strings.HasPrefix(got, c.want+" "+strings.Join(c.args, " ")) {
				t.Errorf("%q: %q, want %s", c.args, got, c.want)
			}
		}
	}
	if os.Geteuid() == 0 { // another user has the whole program at once
		for _, d := range []string{filepath.Dir(one), filepath.Dir(filepath.Dir(one))} {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command(one, "run")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "whole") {
			t.Errorf("as nobody: %v, %q", err, out)
		}
	}
	if info, err := buildinfo.ReadFile(one); err != nil || info.Path == "" {
		t.Errorf("build information: %v, %v", info, err)
	}
	testStripped(t, one)
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
		if out, err := exec.Command(one, word).CombinedOutput(); err != nil || !strings.HasPrefix(string(out), want) {
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
