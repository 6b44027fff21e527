package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// collected: what an interrupted restore leaves of its last steps, whole roots that nothing names yet, is what a collection
// takes, by size, by age or all of it; in the bounds it stays, and the next restore uses it.
func (c *carrying) collected(t *testing.T) {
	for n, bound := range [][]string{{"--max-size", "1B"}, {"--max-age", "1s"}, {"--all"}} {
		dir := filepath.Join(c.folder(t), "cache")
		in := &real{c.fixture, dir}
		in.must(t, "cache", "restore", c.file)
		for _, last := range []string{"actions", "inputs", "refs"}[2*(n%2):] { // as after a kill before them; killedRestores has real ones
			files, err := filepath.Glob(filepath.Join(dir, last, "*"))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %v", last, err)
			}
			for _, f := range files {
				if err := os.Remove(f); err != nil {
					t.Fatal(err)
				}
			}
		}
		in.must(t, "cache", "gc")
		if left, _ := filepath.Glob(filepath.Join(dir, "roots", "*.mtree")); len(left) == 0 {
			t.Error("a fresh root was collected within the bounds")
		}
		if bound[0] == "--max-age" {
			time.Sleep(1100 * time.Millisecond)
		}
		listed := in.must(t, slices.Concat([]string{"cache", "gc", "--dry-run"}, bound)...)
		in.must(t, slices.Concat([]string{"cache", "gc"}, bound)...)
		if left, _ := filepath.Glob(filepath.Join(dir, "roots", "*")); len(left) > 0 {
			t.Errorf("%v leaves %q; its dry run said\n%s", bound, left, listed)
		}
		in.must(t, "cache", "restore", c.file)
		c.whole(t, dir, fmt.Sprint("restored after ", bound))
	}
}
