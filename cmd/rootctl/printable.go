package main

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine bounds what one line of a package's output may take on the terminal.
const maxLine = 500

// printable replaces what a terminal would act on (control characters but tab and newline, bytes that are
// no UTF-8): packages, scripts and servers choose parts of what is printed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '\uFFFD'
		}
		return r
	}, s)
}

// oneLine is printable cut to a bearable length.
func oneLine(s string) string {
	s = strings.ReplaceAll(printable(s), "\n", " ")
	if len(s) > maxLine {
		s = strings.ToValidUTF8(s[:maxLine], "") + "..."
	}
	return s
}
