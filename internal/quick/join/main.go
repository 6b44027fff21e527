// Command join makes one file of two static Go programs of one architecture: the whole one, which go build makes, and the
// quick one, linked to other addresses.
//
//	go build -o whole ./cmd/rootctl
//	go build -ldflags=-T=0x10001000 -o quick ./internal/quick
//	go run ./internal/quick/join whole quick rootctl
//
// The kernel maps the segments of both; what is never touched is never read. The file's entry is a few instructions that
// look at the first words of the command line and go to one program's own entry. The result depends on the two files alone.
//
// The file is the whole program's, with these changes: further program headers, in the gap behind those it has; the entry's
// instructions, in the same gap; behind its end the quick program's segments and the section headers of all, so that strip
// and others that copy by sections copy the segments too.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: join WHOLE QUICK OUT")
		os.Exit(2)
	}
	if err := joinFiles(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintf(os.Stderr, "join: %v\n", err)
		os.Exit(1)
	}
}

func joinFiles(whole, quick, out string) error {
	w, err := readProgram(whole)
	if err != nil {
		return err
	}
	q, err := readProgram(quick)
	if err != nil {
		return err
	}
	b, err := join(w, q)
	if err != nil {
		return err
	}
	temp := out + ".new" // out may be running, or be one of the others
	if err := os.WriteFile(temp, b, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	return os.Rename(temp, out)
}
