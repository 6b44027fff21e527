package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/term"
)

// eachOutput are the outputs of several commands, printed line by line with a name before each.
type eachOutput struct {
	mu             sync.Mutex
	stdout, stderr io.Writer
	colours        bool // on the terminal that both are
	prefixes       []string
}

// newEachOutput prints on stderr alone if stdout is for JSON.
func newEachOutput(a *app, names []string, toStderr bool) *eachOutput {
	l := &eachOutput{stdout: a.stdout, stderr: a.stderr}
	l.colours = a.getenv("NO_COLOR") == "" && a.getenv("TERM") != "dumb" && term.IsTerminal(int(a.stdout.Fd())) && term.IsTerminal(int(a.stderr.Fd()))
	if toStderr {
		l.stdout = a.stderr
	}
	width := 0
	for _, n := range names {
		width = max(width, utf8.RuneCountInString(printable(n)))
	}
	for i, n := range names {
		p := fmt.Sprintf("%-*s |", width, printable(n))
		if l.colours {
			p = fmt.Sprintf("\x1b[%dm%s\x1b[0m", 31+(i+1)%6, p)
		}
		l.prefixes = append(l.prefixes, p+" ")
	}
	return l
}

// of is where the output of the i-th command goes; the end of it is kept, too.
func (l *eachOutput) of(i int, isErr bool, keep *tail) *lineWriter {
	w := &lineWriter{eachOutput: l, to: l.stdout, prefix: l.prefixes[i], keep: keep}
	if isErr {
		w.to = l.stderr
	}
	return w
}

// maxEachLine is where a longer line is broken.
const maxEachLine = 16 << 10

type lineWriter struct {
	*eachOutput
	to     io.Writer
	prefix string
	keep   *tail
	rest   []byte // of a line that has not ended
}

// Write implements io.Writer. A reader that is gone must not end the command by a full pipe, so it never fails.
func (w *lineWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		part := b
		if end >= 0 {
			part = b[:end]
		}
		part = part[:min(len(part), maxEachLine-len(w.rest))]
		w.rest = append(w.rest, part...)
		b = b[len(part):]
		switch {
		case len(b) > 0 && b[0] == '\n':
			b = b[1:]
			w.line(len(w.rest))
		case len(w.rest) == maxEachLine:
			w.line(wholeRunes(w.rest))
		}
	}
	return n, nil
}

// wholeRunes is the length of b without a rune cut at its end.
func wholeRunes(b []byte) int {
	for n := len(b) - 1; n >= len(b)-utf8.UTFMax; n-- {
		if utf8.RuneStart(b[n]) {
			if utf8.FullRune(b[n:]) {
				break
			}
			return n
		}
	}
	return len(b)
}

// line prints the first n bytes of what has come.
func (w *lineWriter) line(n int) {
	text := string(w.rest[:n])
	w.rest = append(w.rest[:0], w.rest[n:]...)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keep.add(tamed(text, false))
	fmt.Fprintln(w.to, w.prefix+tamed(text, w.colours))
}

// flush prints a line that did not end.
func (w *lineWriter) flush() {
	for len(w.rest) > 0 {
		w.line(len(w.rest))
	}
}

// tamed is a line of output as it may stand on a terminal that others use, too: the last of what was to stand there one
// over the other, and without sequences that move about in it. Colours stay if they are wanted.
func tamed(s string, colours bool) string {
	s = strings.TrimSuffix(s, "\r")
	s = s[strings.LastIndexByte(s, '\r')+1:]
	var b strings.Builder
	coloured := false
	for {
		text, rest, found := strings.Cut(s, "\x1b")
		b.WriteString(printable(text))
		if !found {
			break
		}
		n := sequence(rest)
		if colours && isColour(rest[:n]) {
			b.WriteString("\x1b" + rest[:n])
			coloured = true
		}
		s = rest[n:]
	}
	if coloured {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// sequence is the length of what belongs to an escape character before s (ECMA-48): a control sequence, a string for
// the terminal up to its end, or one character.
func sequence(s string) int {
	if s == "" {
		return 0
	}
	switch s[0] {
	case '[':
		for i := 1; i < len(s); i++ {
			if s[i] < 0x20 || s[i] > 0x3f {
				return i + 1
			}
		}
		return len(s)
	case ']', 'P', 'X', '^', '_':
		if i := strings.IndexAny(s, "\a\x1b"); i >= 0 && s[i] == '\a' {
			return i + 1
		} else if i >= 0 {
			return i
		}
		return len(s)
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

func isColour(s string) bool {
	return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "m") && strings.Trim(s[1:len(s)-1], "0123456789;:") == ""
}

// maxTail bounds what a report holds of one command's output.
const maxTail = 64 << 10

// tail is the end of an output.
type tail struct {
	lines []string
	size  int
	cut   int // bytes that are gone
}

func (t *tail) add(line string) {
	t.lines = append(t.lines, line)
	t.size += len(line) + 1
	for t.size > maxTail {
		n := len(t.lines[0]) + 1
		t.size -= n
		t.cut += n
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string {
	text := ""
	if t.cut > 0 {
		text = fmt.Sprintf("(%d bytes before this are left out)\n", t.cut)
	}
	if len(t.lines) == 0 {
		return text
	}
	return text + strings.Join(t.lines, "\n") + "\n"
}
