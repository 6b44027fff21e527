package fetch

import (
	"net/url"
	"strings"
)

// RedactURL returns a URL without user and password.
func RedactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URL)" // where its password begins and ends nobody knows
	}
	u.User = nil
	return u.String()
}

// Redact removes user and password from the URLs in a text.
func Redact(s string) string {
	var b strings.Builder
	for {
		i := strings.Index(s, "://")
		if i < 0 {
			break
		}
		i += len("://")
		b.WriteString(s[:i])
		s = s[i:]
		end := strings.IndexAny(s, "/?# \t\r\n\"'<>")
		if end < 0 {
			end = len(s)
		}
		s = s[strings.LastIndexByte(s[:end], '@')+1:]
	}
	b.WriteString(s)
	return b.String()
}
