package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestManPages: groff has nothing to say against any page, and none of a verb's flags is missing from its page.
func TestManPages(t *testing.T) {
	dir := t.TempDir()
	root := newRootCommand(newApp(nil))
	if err := writeManual(root, dir); err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(dir, "man1", "*.1"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	if out, err := exec.Command("groff", append([]string{"-man", "-ww", "-Tutf8", "-z"}, pages...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("groff: %v\n%s", err, out)
	}
	run, _, err := root.Find([]string{"run"})
	if err != nil {
		t.Fatal(err)
	}
	text := string(manPage(run))
	for _, want := range []string{"\\fB\\-\\-net\\fR \\fImode\\fR\n", "\\fB\\-q\\fR, \\fB\\-\\-quiet\\fR\n", ".SH EXIT STATUS\n", ".BR rootctl (1)\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("rootctl-run(1) lacks %q", want)
		}
	}
}

// TestManPageText: nothing that a text says is taken for a request or an escape.
func TestManPageText(t *testing.T) {
	c := &cobra.Command{Use: "x", Short: `.a\b`, Long: "'quote\n.SH no\n\n  kept  -x\n\\fB", Example: "  x 'y' ~/z"}
	text := string(manPage(c))
	for _, want := range []string{"\\(aqquote\n\\&.SH no\n.PP\n.PP\n.RS 4\n.EX\nkept  \\-x\n.EE\n.RE\n.PP\n\\efB\n", "x \\(aqy\\(aq \\(ti/z\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
