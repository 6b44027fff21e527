// Package version parses and compares Debian version numbers exactly as dpkg does
// (Debian policy 5.6.12, dpkg's lib/dpkg/parsehelp.c and version.c).
package version

import (
	"fmt"
	"strings"
)

// A SyntaxError says why a string is no version number.
type SyntaxError struct {
	Version string
	Reason  string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("version %q: %s", e.Version, e.Reason)
}

// A Version is a parsed version number. Upstream and Revision are substrings of what was parsed.
type Version struct {
	Epoch    uint32
	Upstream string
	Revision string // "" when there is none, which equals "0"
}

// maxEpoch is INT_MAX, the bound dpkg puts on epochs.
const maxEpoch = 1<<31 - 1

// Parse splits a version as dpkg does: blanks around it are dropped, the epoch ends at the first
// colon, the revision begins after the last hyphen. It accepts what dpkg only warns about (a
// version that does not begin with a digit, odd ASCII characters), for such versions stand in old
// archives; Valid does not. Bytes outside ASCII are refused: dpkg orders them differently on amd64
// and arm64.
func Parse(s string) (Version, error) {
	bad := func(reason string) (Version, error) {
		return Version{}, &SyntaxError{Version: s, Reason: reason}
	}
	t := strings.Trim(s, " \t")
	if t == "" {
		return bad("version string is empty")
	}
	for i := 0; i < len(t); i++ {
		switch c := t[i]; {
		case c == ' ' || c == '\t':
			return bad("version string has embedded spaces")
		case c < ' ' || c >= 0x7f:
			return bad("invalid character in version number")
		}
	}
	var v Version
	if epoch, rest, ok := strings.Cut(t, ":"); ok {
		n, reason := parseEpoch(epoch)
		if reason != "" {
			return bad(reason)
		}
		if rest == "" {
			return bad("nothing after colon in version number")
		}
		v.Epoch, t = n, rest
	}
	v.Upstream = t
	if i := strings.LastIndexByte(t, '-'); i >= 0 {
		v.Upstream, v.Revision = t[:i], t[i+1:]
		if v.Revision == "" {
			return bad("revision number is empty")
		}
	}
	if v.Upstream == "" {
		return bad("version number is empty")
	}
	return v, nil
}

// parseEpoch reads what strtol(3) reads, a sign included, because that is what dpkg calls.
func parseEpoch(s string) (n uint32, reason string) {
	digits := strings.TrimPrefix(s, "+")
	negative := false
	if len(digits) == len(s) {
		digits = strings.TrimPrefix(s, "-")
		negative = len(digits) != len(s)
	}
	if digits == "" || !isDigit(digits[0]) {
		return 0, "epoch in version is empty"
	}
	var v uint64
	for i := 0; i < len(digits); i++ {
		if !isDigit(digits[i]) {
			return 0, "epoch in version is not number"
		}
		v = min(v*10+uint64(digits[i]-'0'), maxEpoch+1)
	}
	switch {
	case negative && v > 0:
		return 0, "epoch in version is negative"
	case v > maxEpoch:
		return 0, "epoch in version is too big"
	}
	return uint32(v), ""
}

// Valid reports whether s is a version number without any fault dpkg complains about.
func Valid(s string) error {
	v, err := Parse(s)
	if err != nil {
		return err
	}
	if !isDigit(v.Upstream[0]) {
		return &SyntaxError{Version: s, Reason: "version number does not start with digit"}
	}
	if i := invalid(v.Upstream, ".-+~:"); i >= 0 {
		return &SyntaxError{Version: s, Reason: "invalid character in version number"}
	}
	if i := invalid(v.Revision, ".+~"); i >= 0 {
		return &SyntaxError{Version: s, Reason: "invalid character in revision number"}
	}
	return nil
}

// invalid returns the index of the first byte that is neither alphanumeric nor in others, or -1.
func invalid(s, others string) int {
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) && !isAlpha(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return i
		}
	}
	return -1
}

func isDigit(c byte) bool { return c-'0' <= 9 }
func isAlpha(c byte) bool { return c|0x20-'a' < 26 }
