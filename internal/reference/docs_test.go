package reference

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testFunc  = regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	makeName  = regexp.MustCompile("`make ([a-z0-9-]+)")
	nameCells = regexp.MustCompile(`(?m)^\| .* \| (.*) \|$`)
)

// TestDocumentedTestsExist checks docs/tests.md: every function is there, every part of one stands in its
// file, every script and every target of make exists, and no row is without one.
func TestDocumentedTestsExist(t *testing.T) {
	root := "../.."
	files := map[string]string{} // by test function: the text of its file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		b, err := os.ReadFile(p)
		for _, m := range testFunc.FindAllStringSubmatch(string(b), -1) {
			files[m[1]] += string(b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	makefile := read("Makefile")
	rows := 0
	for _, m := range nameCells.FindAllStringSubmatch(read("docs/tests.md"), -1) {
		if m[1] == "tests" {
			continue
		}
		rows++
		for _, m := range makeName.FindAllStringSubmatch(m[1], -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				t.Errorf("no target %s", m[1])
			}
		}
		named := strings.Contains(m[1], "`make ")
		for i, cell := range strings.Split(m[1], "Test") {
			if i == 0 {
				continue
			}
			named = true
			cell, _, _ = strings.Cut(cell, "`make ")
			name, part, _ := strings.Cut(strings.TrimRight(cell, ", "), "/")
			checkNamed(t, files, root, "Test"+name, part)
		}
		if !named {
			t.Errorf("a row without a test: %s", m[0])
		}
	}
	if rows < 50 {
		t.Errorf("only %d rows were understood", rows)
	}
}

func checkNamed(t *testing.T, files map[string]string, root, name, part string) {
	t.Helper()
	text, ok := files[name]
	switch {
	case !ok:
		t.Errorf("no test is called %q", name)
	case name == "TestScripts":
		if _, err := os.Stat(filepath.Join(root, "cmd/rootctl/testdata/script", part+".txtar")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	case name == "TestMatrix":
		// Its lines are put together as it runs; it compares them with the page itself.
	case part != "" && !strings.Contains(text, part):
		t.Errorf("%s has no part %q", name, part)
	}
}
