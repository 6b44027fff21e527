package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestRealEvents runs the real go test on a small module, so that its form of events is what is read.
func TestRealEvents(t *testing.T) {
	for _, c := range []struct {
		summary, file string
		strict, ok    bool
		want          []string
	}{
		{"passes", `func TestA(t *testing.T) {}`, true, true, []string{"1 passed, 0 failed, 0 skipped\n"}},
		{"fails", `func TestA(t *testing.T) { t.Error("broken here") }`, false, false, []string{"broken here", "0 passed, 1 failed, 0 skipped\n"}},
		{"skip", `func TestA(t *testing.T) { t.Skip("needs root: chroot") }`, false, true, []string{"skip x TestA: needs root: chroot\n", "0 passed, 0 failed, 1 skipped\n"}},
		{"skip, strict", `func TestA(t *testing.T) { t.Skip("needs root: chroot") }`, true, false, []string{"ought to run", "0 passed, 1 failed, 0 skipped\n"}},
		{"loud skip", `func TestA(t *testing.T) { t.Log("x"); t.Skip("needs archive: it is offline") }`, true, true, []string{"NOT TESTED: x TestA: needs archive: it is offline\n", "0 passed, 0 failed, 1 skipped\n"}},
		{"silent skip", `func TestA(t *testing.T) { t.SkipNow() }`, true, false, []string{"no reason"}},
		{"does not build", `func TestA(t *testing.T) { undefined() }`, false, false, []string{"undefined: undefined", "0 passed, 1 failed, 0 skipped\n"}},
		{"dies", `func TestA(t *testing.T) { os.Exit(3) }; var _ = os.Args`, false, false, []string{"0 passed, 1 failed, 0 skipped\n"}},
		{"fails outside of tests", `func TestA(t *testing.T) {}; func TestMain(m *testing.M) { m.Run(); os.Exit(3) }`, false, false, []string{"1 passed, 1 failed, 0 skipped\n"}},
		{"panics", `func TestA(t *testing.T) { panic("in the middle") }`, false, false, []string{"in the middle", "1 failed"}},
		{"sub-tests", `func TestA(t *testing.T) { t.Run("b", func(t *testing.T) { t.Skip("needs x: y") }) }`, true, false, []string{"TestA/b: needs x: y", "1 passed, 1 failed, 0 skipped\n"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			dir := t.TempDir()
			imports := "import \"testing\"\n"
			if strings.Contains(c.file, "os.") {
				imports = "import (\n\"os\"\n\"testing\"\n)\n"
			}
			for name, text := range map[string]string{"go.mod": "module x\n\ngo 1.24\n", "x_test.go": "package x\n" + imports + c.file + "\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("go", "test", "-json", "./...")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOFLAGS=", "GOWORK=off")
			events, _ := cmd.Output() // fails where the test does
			s, err := read(strings.NewReader(string(events)))
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if ok := s.print(&out, c.strict, 0); ok != c.ok {
				t.Errorf("ok %v, want %v:\n%s\nof %s", ok, c.ok, &out, events)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, &out)
				}
			}
		})
	}
}

func TestEventsThatEndEarly(t *testing.T) {
	s, err := read(strings.NewReader(`{"Action":"start","Package":"x"}` + "\n" + `{"Action":"run","Package":"x","Test":"TestA"}` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if s.print(&out, false, 0) || !strings.Contains(out.String(), "never ended") {
		t.Errorf("an early end passes: %s", &out)
	}
	if s, err = read(strings.NewReader("")); err != nil || s.print(&out, false, 0) {
		t.Error("no events at all pass")
	}
}
