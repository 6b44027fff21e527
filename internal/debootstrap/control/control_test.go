package control

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// render writes what the scanner sees, a field a line.
func render(data string) (string, error) {
	var b strings.Builder
	for p, err := range Paragraphs(data) {
		if err != nil {
			return b.String(), err
		}
		b.WriteString("--\n")
		for name, value := range Fields(p) {
			fmt.Fprintf(&b, "%s=%q\n", name, value)
		}
	}
	return b.String(), nil
}

func TestParagraphs(t *testing.T) {
	for _, c := range []struct{ summary, data, want string }{
		{"nothing", "", ""},
		{"empty lines only", "\n\n\r\n", ""},
		{"one field, no newline", "A: 1", "--\nA=\"1\"\n"},
		{"two paragraphs, many empty lines", "\n\nA: 1\nB: 2\n\n\n\nA: 3\n\n", "--\nA=\"1\"\nB=\"2\"\n--\nA=\"3\"\n"},
		{"CR LF", "A: 1\r\nB:\r\n x\r\n y\r\n\r\nA: 2\r\n", "--\nA=\"1\"\nB=\"x\\r\\n y\"\n--\nA=\"2\"\n"},
		{"continuation", "A: 1\n 2\n\t3\n .\n 4\nB: 5\n", "--\nA=\"1\\n 2\\n\\t3\\n .\\n 4\"\nB=\"5\"\n"},
		{"empty value", "A:\nB: \n", "--\nA=\"\"\nB=\"\"\n"},
		{"colon in value, none after it", "A: b:c\nB:x:y\n", "--\nA=\"b:c\"\nB=\"x:y\"\n"},
		{"blank before colon", "A : 1\n", "--\nA=\"1\"\n"},
		{"comments around", "# c\n\n#d\nA: 1\n# e\nB: 2\n#f", "--\nA=\"1\"\nB=\"2\"\n"},
		{"comment in a value", "A: 1\n# c\n# d\n 2\n#e\nB: 3\n", "--\nA=\"1\\n 2\"\nB=\"3\"\n"},
		{"comment before the first line of a value", "A:\n#c\n 2\n", "--\nA=\"2\"\n"},
		{"comments only", "#a\n#b\n", ""},
		{"names that hash alike are no duplicates", "Aa: 1\nAA2: 2\nBB: 3\n", "--\nAa=\"1\"\nAA2=\"2\"\nBB=\"3\"\n"},
	} {
		got, err := render(c.data)
		if err != nil || got != c.want {
			t.Errorf("%s: %v %s", c.summary, err, cmp.Diff(c.want, got))
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for _, c := range []struct {
		summary, data string
		line          int
	}{
		{"no colon", "A: 1\nB\n", 2},
		{"no colon at end", "A: 1\n\nB", 3},
		{"no name", "A: 1\n: 2\n", 2},
		{"blank in name", "A b: 1\n", 1},
		{"hyphen", "-A: 1\n", 1},
		{"control character", "A\x01: 1\n", 1},
		{"beyond ASCII", "É: 1\n", 1},
		{"continuation first", " x\nA: 1\n", 1},
		{"continuation after an empty line", "A: 1\n\n x\n", 3},
		{"continuation after comment", "#c\n x\n", 2},
		{"blank line", "A: 1\n \nB: 2\n", 2},
		{"blank CR line", "A: 1\r\n \t\r\nB: 2\n", 2},
		{"duplicate", "A: 1\nB: 2\nC: 3\na: 4\n", 4},
		{"too large", "A: 1\n " + strings.Repeat("x", MaxParagraph) + "\n", 2},
	} {
		_, err := render(c.data)
		var e *SyntaxError
		if !errors.As(err, &e) || e.Line != c.line {
			t.Errorf("%s: %v, want line %d", c.summary, err, c.line)
		}
	}
}

func TestParagraphsStopEarly(t *testing.T) {
	n := 0
	for range Paragraphs("A: 1\n\nA: 2\n\nbad\n") {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Error(n)
	}
}

func TestField(t *testing.T) {
	p := "Package: a\nPackage-Type: x\n# Version: 0\nversion : 1\nDescription: short\n Package: trap\n.\nTag:\nEmpty:"
	for name, want := range map[string]string{
		"package": "a", "PACKAGE-TYPE": "x", "Version": "1", "Description": "short\n Package: trap",
		"Tag": "", "Empty": "", "": "", "Pack": "", "Package:": "", "trap": "", "Nothing": "",
	} {
		if got := Field(p, name); got != want {
			t.Errorf("Field(%q) = %q, want %q", name, got, want)
		}
	}
	if _, ok := Lookup(p, "Tag"); !ok {
		t.Error("an empty field is not missing")
	}
	if _, ok := Lookup(p, "Tags"); ok {
		t.Error("Tags is missing")
	}
}

// TestAgainstDpkg compares every field of the host's installed packages with dpkg's own reading.
func TestAgainstDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("needs dpkg-query: the oracle for control files")
	}
	status, err := exec.Command("dpkg-query", "--status").Output()
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"Package", "Version", "Architecture", "Maintainer", "Description", "Depends", "Conffiles", "Installed-Size"}
	format := ""
	for _, n := range names {
		format += "${" + n + "}\x01"
	}
	want, err := exec.Command("dpkg-query", "--show", "--showformat", format+"\x02").Output()
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for p, err := range Paragraphs(string(status)) {
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			value := Field(p, n)
			if n == "Conffiles" && value != "" {
				value = " " + value // dpkg-query keeps the blank that began the line
			}
			got.WriteString(value + "\x01")
		}
		got.WriteByte('\x02')
	}
	if want, got := strings.Split(string(want), "\x02"), strings.Split(got.String(), "\x02"); !slices.Equal(want, got) {
		for i := range min(len(want), len(got)) {
			if want[i] != got[i] {
				t.Fatalf("package %d of %d (dpkg: %d):\n%s", i, len(got), len(want), cmp.Diff(want[i], got[i]))
			}
		}
		t.Fatalf("%d packages, dpkg has %d", len(got), len(want))
	}
}

// index is text like an archive's Packages file.
func index(packages int) string {
	var b strings.Builder
	for i := range packages {
		fmt.Fprintf(&b, `Package: libexample%d-dev
Source: example
Version: 1:%d.2.3-4ubuntu5
Installed-Size: 1234
Maintainer: Some Developers <some-developers@lists.example.org>
Architecture: amd64
Replaces: libexample-old (<< 1.2)
Depends: libc6 (>= 2.27), libexample%d (= 1:%d.2.3-4ubuntu5), zlib1g-dev | libz-dev
Description: library with example functions (development files)
Multi-Arch: same
Homepage: https://www.example.org/
Description-md5: 0123456789abcdef0123456789abcdef
Tag: devel::lang:c, devel::library, implemented-in::c,
 role::devel-lib
Section: libdevel
Priority: optional
Filename: pool/main/e/example/libexample%d-dev_1.2.3-4ubuntu5_amd64.deb
Size: 123456
MD5sum: 0123456789abcdef0123456789abcdef
SHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

`, i, i, i, i, i)
	}
	return b.String()
}

// BenchmarkIndex measures what reading a Packages file costs; -benchmem shows nothing is copied.
func BenchmarkIndex(b *testing.B) {
	data := index(20000)
	for _, fields := range [][]string{{}, {"Package", "Architecture", "Version", "Filename", "Size", "SHA256"}} {
		b.Run(fmt.Sprint(len(fields), "fields"), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				for p, err := range Paragraphs(data) {
					if err != nil {
						b.Fatal(err)
					}
					for _, f := range fields {
						if Field(p, f) == "" {
							b.Fatal(f)
						}
					}
				}
			}
		})
	}
	b.Run("all-fields", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			for p := range Paragraphs(data) {
				for _, v := range Fields(p) {
					if v == "" {
						b.Fatal("empty")
					}
				}
			}
		}
	})
}

// TestHostIndex reads every index apt holds on this machine, as real input.
func TestHostIndex(t *testing.T) {
	lists, err := filepath.Glob("/var/lib/apt/lists/*_Packages*")
	if err != nil || len(lists) == 0 {
		t.Skip("needs apt lists: run apt-get update first")
	}
	for _, list := range lists {
		text, err := exec.Command("/usr/lib/apt/apt-helper", "cat-file", list).Output()
		if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		n := 0
		for p, err := range Paragraphs(string(text)) {
			if err != nil {
				t.Fatalf("%s: %v", filepath.Base(list), err)
			}
			for _, f := range []string{"Depends", "Pre-Depends", "Provides", "Conflicts", "Breaks", "Replaces"} {
				if _, err := ParseRelations(Field(p, f)); err != nil {
					t.Errorf("%s: %s: %v", Field(p, "Package"), f, err)
				}
			}
			n++
		}
		if want := strings.Count("\n"+string(text), "\nPackage: "); n != want {
			t.Errorf("%s: %d paragraphs, %d packages", list, n, want)
		}
	}
}
