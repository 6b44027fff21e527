package control

import (
	"iter"
	"strings"
)

// Field returns the value of the first field called name, in any case, or "". The value is
// trimmed; the lines after the first keep their newline and leading blank.
func Field(paragraph, name string) string {
	value, _ := Lookup(paragraph, name)
	return value
}

// Lookup is Field that tells an empty field from a missing one.
func Lookup(paragraph, name string) (value string, ok bool) {
	if name == "" {
		return "", false
	}
	first := name[0] | 0x20
	for pos := 0; pos < len(paragraph); {
		if paragraph[pos]|0x20 == first && len(paragraph)-pos > len(name) && strings.EqualFold(paragraph[pos:pos+len(name)], name) {
			if colon := skipBlanks(paragraph, pos+len(name)); colon < len(paragraph) && paragraph[colon] == ':' {
				value, _ := valueAt(paragraph, colon+1)
				return value, true
			}
		}
		i := strings.IndexByte(paragraph[pos:], '\n')
		if i < 0 {
			break
		}
		pos += i + 1
	}
	return "", false
}

// Fields yields the name, as written, and the value of each field in order. Lines that are no
// part of a field are passed over; Paragraphs has refused them before.
func Fields(paragraph string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for pos := 0; pos < len(paragraph); {
			colon, newline := endOfName(paragraph, pos)
			if colon < 0 {
				pos = newline
				continue
			}
			value, next := valueAt(paragraph, colon+1)
			if !yield(strings.TrimRight(paragraph[pos:colon], " \t"), value) {
				return
			}
			pos = next
		}
	}
}

// endOfName returns the index of the colon after the field name at pos; or -1 and the beginning of
// the next line if no field begins here.
func endOfName(p string, pos int) (colon, newline int) {
	end := len(p)
	if c := p[pos]; c != '#' && c != ' ' && c != '\t' {
		for i := pos; i < len(p); i++ {
			if p[i] == ':' && i > pos {
				return i, 0
			}
			if p[i] == '\n' {
				return -1, i + 1
			}
		}
		return -1, end
	}
	if i := strings.IndexByte(p[pos:], '\n'); i >= 0 {
		end = pos + i + 1
	}
	return -1, end
}

// valueAt returns the value that begins at pos and where the next field begins.
func valueAt(p string, pos int) (value string, next int) {
	comment := false
	end := pos
	for next = pos; ; {
		i := strings.IndexByte(p[next:], '\n')
		if i < 0 {
			next = len(p)
			end = next
			break
		}
		next += i + 1
		if next == len(p) {
			end = next
			break
		}
		if c := p[next]; c == '#' {
			// A comment belongs to the value only if the value goes on after it.
			if !continues(p, next) {
				end = next
				break
			}
			comment = true
		} else if c != ' ' && c != '\t' {
			end = next
			break
		}
	}
	if comment {
		return trim(dropComments(p[pos:end])), next
	}
	return trim(p[pos:end]), next
}

// continues reports whether a continuation line follows the comment lines at pos.
func continues(p string, pos int) bool {
	for pos < len(p) && p[pos] == '#' {
		i := strings.IndexByte(p[pos:], '\n')
		if i < 0 {
			return false
		}
		pos += i + 1
	}
	return pos < len(p) && (p[pos] == ' ' || p[pos] == '\t')
}

// dropComments copies raw, which begins right after a field's colon, without its comment lines.
func dropComments(raw string) string {
	var b strings.Builder
	for line := range strings.Lines(raw) {
		if line[0] != '#' || b.Len() == 0 { // the first line is the field's own, whatever it begins with
			b.WriteString(line)
		}
	}
	return b.String()
}

// trim drops ASCII white space, as dpkg does, and looks at two bytes in the usual case.
func trim(s string) string {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || c-'\t' < 5 }

func skipBlanks(s string, i int) int {
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	return i
}
