package main

import (
	"strings"
	"testing"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ä\ttext\n":         "plain ä\ttext\n",
		"\x1b]0;title\x07\x1b[2J": "\uFFFD]0;title\uFFFD\uFFFD[2J",
		"c1 \u009b31m del \x7f":   "c1 \uFFFD31m del \uFFFD",
		"not utf-8 \xff\xc0":      "not utf-8 \uFFFD\uFFFD",
		"nul \x00":                "nul \uFFFD",
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q, want %q", in, got, want)
		}
	}
	if got := oneLine("a\nb" + strings.Repeat("ä", maxLine)); len(got) > maxLine+3 || strings.Contains(got, "\n") || !strings.HasSuffix(got, "ä...") {
		t.Errorf("oneLine: %q", got)
	}
}
