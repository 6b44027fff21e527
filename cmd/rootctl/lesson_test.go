package main

import (
	"os"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// lesson runs the lines of a page of docs that begin with a dollar, and compares what they print: lesson PAGE
func lesson(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lesson PAGE")
	}
	page, err := os.ReadFile("../../docs/" + args[0])
	ts.Check(err)
	ran, command, want := 0, "", ""
	end := func() {
		if command == "" {
			return
		}
		ts.Check(ts.Exec("sh", "-c", command))
		if got := ts.ReadFile("stdout"); got != want {
			ts.Fatalf("%s: line %q prints %q, want %q", args[0], command, got, want)
		}
		ran, command, want = ran+1, "", ""
	}
	for line := range strings.Lines(string(page)) {
		text, block := strings.CutPrefix(line, "    ")
		next, isCommand := strings.CutPrefix(text, "$ ")
		if isCommand || !block {
			end()
		}
		switch {
		case block && isCommand:
			command = strings.TrimSpace(next)
		case block && command != "":
			want += text
		}
	}
	end()
	if ran < 5 {
		ts.Fatalf("%s: %d lines were run", args[0], ran)
	}
}
