package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// junitReport is what readers of JUnit reports look at.
type junitReport struct {
	XMLName xml.Name `xml:"testsuites"`
	Suite   struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
		Cases    []struct {
			Name    string    `xml:"name,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
			Output  string    `xml:"system-out"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

func readJUnit(t *testing.T, text string) (r junitReport) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(strings.TrimSpace(text)))
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v\n%.2000s", err, text)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Errorf("more behind the root element: %v", err)
	}
	return r
}

// TestJUnit: whatever commands print and roots are called, the report is XML, and of bounded size.
func TestJUnit(t *testing.T) {
	l := &eachOutput{stdout: io.Discard, stderr: io.Discard, prefixes: []string{"", "", "", ""}}
	results := []eachResult{{Name: `a<b>&"c"`, Started: true, Exit: 1}, {Name: "none", Error: "no \x00 root \xff\"", Exit: 125}, {Name: "late"}, {Name: "good", Started: true}}
	w := l.of(0, false, &results[0].tail)
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for range 1000 {
		if _, err := w.Write(append(all, "]]>\ufffe\uffff<![CDATA[\n"...)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Write(bytes.Repeat([]byte("é"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	w.flush()
	text := junitText(results, []string{"make", "\"check\""})
	if len(text) > 6*maxTail || !utf8.ValidString(text) {
		t.Errorf("%d bytes, UTF-8: %v", len(text), utf8.ValidString(text))
	}
	s := readJUnit(t, text).Suite
	if s.Tests != 4 || s.Failures != 1 || s.Errors != 1 || s.Skipped != 1 || len(s.Cases) != 4 {
		t.Fatalf("%+v", s)
	}
	if c := s.Cases; c[0].Name != results[0].Name || c[0].Failure == nil || c[1].Error == nil || c[2].Skipped == nil || c[3].Failure != nil {
		t.Errorf("%.2000v", c)
	}
	if o := s.Cases[0].Output; !strings.Contains(o, "bytes before this are left out") || strings.ContainsRune(o, utf8.RuneError) {
		t.Errorf("the end of a long line of whole runes: %.300q", o)
	}
}

// TestTamed: what a line of output may do to a terminal.
func TestTamed(t *testing.T) {
	for _, tt := range []struct{ in, plain, coloured string }{
		{"plain\ttext é", "plain\ttext é", "plain\ttext é"},
		{"\x1b[1;31mred\x1b[m", "red", "\x1b[1;31mred\x1b[m\x1b[0m"},
		{"a\x1b[2Jb\x1b[10;10Hc", "abc", "abc"},
		{"a\x1b]0;title\ab\x1b]8;;http://x\x1b\\c", "abc", "abc"},
		{"10%\r50%\r100%\r", "100%", "100%"},
		{"cut\x1b[31", "cut", "cut"},
		{"cut\x1b", "cut", "cut"},
		{"\x1bcreset\x1b(0", "reset0", "reset0"},
		{"bell\a\b\x9b", "bell\uFFFD\uFFFD\uFFFD", "bell\uFFFD\uFFFD\uFFFD"},
	} {
		if got := tamed(tt.in, false); got != tt.plain {
			t.Errorf("%q: %q, want %q", tt.in, got, tt.plain)
		}
		if got := tamed(tt.in, true); got != tt.coloured {
			t.Errorf("%q in colour: %q, want %q", tt.in, got, tt.coloured)
		}
	}
}

// TestEachInterrupted ends each by Ctrl-C, SIGTERM and SIGKILL while one command runs and another waits for its turn, and
// while roots are built: all end, and nothing is left.
func TestEachInterrupted(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	f.build(t, dir)
	if out, err := f.command(dir, "tag", "fixture", "second").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	report := filepath.Join(t.TempDir(), "report.xml")
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL}
	for _, sig := range signals {
		c := f.command(dir, "each", "fixture,second", "--jobs", "1", "--junit", report, "--", "sh", "-c", "echo begun; exec sleep 1000423")
		rest := endAt(t, c, sig, "| begun\n")
		waitGone(t, "sleep 1000423")
		if sig == syscall.SIGKILL {
			continue
		}
		if code := c.ProcessState.ExitCode(); code != 130 && code != 137 && code != 143 {
			t.Errorf("exit code %d\n%s", code, rest)
		}
		text, err := os.ReadFile(report)
		if err != nil {
			t.Fatal(err)
		}
		if s := readJUnit(t, string(text)).Suite; s.Tests != 2 || s.Failures != 1 || s.Skipped != 1 {
			t.Errorf("%s", text)
		}
	}
	f.checkKilled(t, dir, "each interrupted")
	for _, sig := range signals {
		dir := filepath.Join(t.TempDir(), "cache")
		c := f.command(dir, slices.Concat([]string{"each", "bionic,bionic-apt"}, f.args[1:6], []string{"--", "true"})...) // where from
		rest := endAt(t, c, sig, "| unpacking ")
		if sig != syscall.SIGKILL && c.ProcessState.ExitCode() < 125 {
			t.Errorf("%v: exit code %d\n%s", sig, c.ProcessState.ExitCode(), rest)
		}
		f.checkKilled(t, dir, "each interrupted while it builds")
	}
}

// endAt starts a command, ends it by a signal as soon as it has printed a text, and gives what it printed.
func endAt(t *testing.T, c *exec.Cmd, sig syscall.Signal, text string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.Stdout, c.Stderr = w, w
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var all []byte
	b := make([]byte, 4096)
	for !strings.Contains(string(all), text) {
		n, err := r.Read(b)
		if all = append(all, b[:n]...); err != nil {
			t.Fatalf("%v: no %q in\n%s", err, text, all)
		}
	}
	if err := c.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r) // until nobody holds it any more
	if err != nil {
		t.Error(err)
	}
	_ = c.Wait()
	return string(all) + string(rest)
}

// waitGone waits until no process has these words as its whole command line.
func waitGone(t *testing.T, words string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		out, err := exec.Command("ps", "-eo", "args").Output()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains("\n"+string(out), "\n"+words+"\n") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%q still runs", words)
		}
	}
}
