// Package control reads Debian control files (deb822: Packages, Release, a .deb's control) in one
// pass over a string. Paragraphs, names and values are substrings of it; nothing is copied but
// the rare value with a comment line inside.
//
// The grammar is dpkg's, with the line ends apt takes too (CR LF); a blank but not empty line is
// an error, because dpkg, apt and policy each read it differently.
package control

import (
	"fmt"
	"iter"
	"strings"
)

// MaxParagraph bounds the bytes of one paragraph. A Release file is one paragraph, about 0.3 MB in
// the largest archives.
const MaxParagraph = 16 << 20

// A SyntaxError is a fault in a control file.
type SyntaxError struct {
	Line   int // counted from 1
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Reason) }

// Paragraphs yields each paragraph of data, checked, without the empty lines around it. After
// the first fault it yields a *SyntaxError and ends.
func Paragraphs(data string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for pos := 0; pos < len(data); {
			start, end, next, reason := scan(data, pos)
			if reason != "" {
				line := 1 + strings.Count(data[:end], "\n")
				yield("", &SyntaxError{Line: line, Reason: reason})
				return
			}
			if start < end && !yield(data[start:end], nil) {
				return
			}
			pos = next
		}
	}
}

// scan finds the paragraph at or after pos: data[start:end] is it, next where to go on. If there
// is a fault, reason is set and end is the beginning of the faulty line.
func scan(data string, pos int) (start, end, next int, reason string) {
	start = -1
	var seen seenNames
	for pos < len(data) {
		stop := len(data)
		next := stop
		if i := strings.IndexByte(data[pos:], '\n'); i >= 0 {
			stop, next = pos+i, pos+i+1
		}
		line := data[pos:stop]
		if line == "" || line == "\r" {
			if start >= 0 {
				return start, pos, next, ""
			}
			pos = next
			continue
		}
		switch line[0] {
		case '#':
			pos = next
			continue
		case ' ', '\t':
			if start < 0 {
				return 0, pos, 0, "continuation line without a field before it"
			}
			if !hasText(line) {
				return 0, pos, 0, "blank line in value of a field"
			}
		default:
			if start < 0 {
				start = pos
			}
			if reason := seen.add(data[start:pos], line); reason != "" {
				return 0, pos, 0, reason
			}
		}
		if next-start > MaxParagraph {
			return 0, pos, 0, fmt.Sprintf("paragraph is larger than %d bytes", MaxParagraph)
		}
		pos = next
	}
	if start < 0 {
		return 0, 0, pos, ""
	}
	return start, pos, pos, ""
}

// hasText reports whether a line holds more than blanks; text nearly always stands at index 1.
func hasText(line string) bool {
	for i := 0; i < len(line); i++ {
		if c := line[i]; c != ' ' && c != '\t' && c != '\r' {
			return true
		}
	}
	return false
}

// seenNames is a bit per hash of the field names of a paragraph; only a bit set twice makes the
// names themselves be compared.
type seenNames [8]uint64

// add checks the field line after the lines before it in its paragraph, and returns what is wrong.
func (s *seenNames) add(before, line string) (reason string) {
	hash := uint32(2166136261)
	i := 0
	for ; i < len(line) && line[i] != ':'; i++ {
		c := line[i]
		if c <= ' ' || c >= 0x7f {
			break
		}
		hash = (hash ^ uint32(c|0x20)) * 16777619
	}
	name := line[:i]
	rest := strings.TrimLeft(line[i:], " \t")
	switch {
	case rest == "" || rest[0] != ':':
		return fmt.Sprintf("field name %q must be followed by a colon", clip(name))
	case name == "":
		return "field name is empty"
	case name[0] == '-':
		return fmt.Sprintf("field name %q begins with a hyphen", clip(name))
	}
	word, bit := hash>>26&7, uint64(1)<<(hash>>20&63)
	if s[word]&bit != 0 {
		for have := range Fields(before) {
			if strings.EqualFold(have, name) {
				return fmt.Sprintf("duplicate field %q", clip(name))
			}
		}
	}
	s[word] |= bit
	return ""
}

func clip(s string) string { return s[:min(len(s), 64)] }
