package recipe

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamples reads what docs/examples shows; make e2e builds it.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "docs", "examples", "*", DefaultName))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, f := range files {
		if _, err := Read(f); err != nil {
			t.Error(err)
		}
		text, err := os.ReadFile(f)
		lines := strings.SplitN(string(text), "\n", 3)
		if err != nil || len(lines) < 3 || !strings.HasPrefix(lines[0], "# ") || !strings.HasPrefix(lines[1], "# ") {
			t.Errorf("%s does not begin with two lines that say what it is for", f)
		}
	}
}
