package oci

import (
	"encoding/hex"
	"strings"
)

// RefName writes a root's name as the annotation org.opencontainers.image.ref.name takes it: letters, digits and ":"
// stay, and so do one "-", "." or "_" or two "-" between letters and digits. All else, so every "+", becomes "_" and two
// hex digits, and so does a "_" that would read like such a pair. No two names become one.
func RefName(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case alnum(name, i), c == ':' && alnum(name, i-1) && alnum(name, i+1):
			b.WriteByte(c)
		case c == '-' && alnum(name, i-1) && i+1 < len(name) && name[i+1] == '-' && alnum(name, i+2):
			b.WriteString("--")
			i++
		case (c == '-' || c == '.') && alnum(name, i-1) && alnum(name, i+1),
			c == '_' && alnum(name, i-1) && alnum(name, i+1) && !escape(name[i+1:]):
			b.WriteByte(c)
		default:
			b.WriteByte('_')
			b.WriteString(hex.EncodeToString([]byte{c}))
		}
	}
	return b.String()
}

func alnum(s string, i int) bool {
	if i < 0 || i >= len(s) {
		return false
	}
	c := s[i]
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// escape reports whether s begins with what RefName writes after a "_".
func escape(s string) bool {
	for _, code := range [...]string{"2b", "2d", "2e", "5f"} {
		if strings.HasPrefix(s, code) {
			return true
		}
	}
	return false
}
