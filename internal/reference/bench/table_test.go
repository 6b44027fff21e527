package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	ms := func(n ...int) (all []time.Duration) {
		for _, m := range n {
			all = append(all, time.Duration(m)*time.Millisecond)
		}
		return all
	}
	got := render([]row{{"cold", []result{{"rootctl", ms(3000, 1000, 2000), 200 << 10}, {"other", ms(9000, 1, 7000, 5000), 0}}}}, "a machine", "a command")
	for _, want := range []string{
		", a machine. `a command`\n",
		"| cold | rootctl | 2.00 s | 1.00 s - 3.00 s | 3 |  | 200 MB |\n",
		"|  | other | 6.00 s | 1.00 ms - 9.00 s | 4 | 3.00 times |  |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestReplaceTable(t *testing.T) {
	page := filepath.Join(t.TempDir(), "docs", "p.md")
	table := render(nil, "m", "c")
	for range 2 {
		if err := replaceTable(page, table); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || string(text) != "# Performance\n\n"+table {
		t.Errorf("%v %s", err, text)
	}
	if err := os.WriteFile(page, []byte("a\n"+begin+"\nold\n"+end+"\nb\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceTable(page, table); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(page); string(text) != "a\n"+table+"b\n" {
		t.Errorf("%s", text)
	}
	if err := os.WriteFile(page, []byte(begin+"\nold\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceTable(page, table); err == nil {
		t.Error("a marker without its end is taken")
	}
}
