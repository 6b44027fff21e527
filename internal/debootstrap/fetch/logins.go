package fetch

import (
	"net/url"
	"strings"
)

// Logins are users and passwords by host, as netrc and apt's auth.conf give them.
type Logins []login

type login struct {
	scheme string // "" is https, and http too where it stands in netrc
	host   string // lower case
	port   string // "" is any
	path   string // a prefix of the URL's path, byte by byte as apt compares them
	plain  bool   // may go over http without a scheme that says so
	user   string
	secret string
}

// ParseNetrc reads a netrc file. An entry without a scheme is for http and https. The default entry is
// left out: it would send its password to every mirror.
func ParseNetrc(text string) Logins { return parseLogins(text, true) }

// ParseAptAuth reads apt's auth.conf (apt_auth.conf(5)): like netrc, but "machine" may have a scheme,
// a port and a path, and without a scheme an entry is for https alone.
func ParseAptAuth(text string) Logins { return parseLogins(text, false) }

func parseLogins(text string, plain bool) (all Logins) {
	var at *login
	s := &tokens{rest: text}
	for {
		word, ok := s.next()
		switch {
		case !ok:
			return all.whole()
		case word == "machine":
			all = append(all, parseMachine(s.value(), plain))
			at = &all[len(all)-1]
		case word == "default":
			at = nil
		case word == "macdef":
			s.skipMacro()
		case word == "login" || word == "password" || word == "account":
			if value := s.value(); at != nil {
				at.set(word, value)
			}
		case strings.HasPrefix(word, "#"):
			s.skipLine()
		}
	}
}

func (e *login) set(word, value string) {
	switch word {
	case "login":
		e.user = value
	case "password":
		e.secret = value
	}
}

// whole leaves out entries that name no host or no user.
func (l Logins) whole() (out Logins) {
	for _, e := range l {
		if e.host != "" && e.user != "" {
			out = append(out, e)
		}
	}
	return out
}

// parseMachine splits [SCHEME://]HOST[:PORT][/PATH].
func parseMachine(s string, plain bool) (e login) {
	e.plain = plain
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		e.scheme, s = strings.ToLower(scheme), rest
	}
	if i := strings.IndexByte(s, '/'); i >= 0 {
		e.path, s = s[i:], s[:i]
	}
	u := url.URL{Host: s}
	e.host, e.port = strings.ToLower(u.Hostname()), u.Port()
	return e
}

// For returns the login for a URL: of the entries that fit the one with the longest path, of equals
// the first.
func (l Logins) For(u *url.URL) (user, password string, ok bool) {
	longest := -1
	for _, e := range l {
		if e.fits(u) && len(e.path) > longest {
			user, password, longest = e.user, e.secret, len(e.path)
		}
	}
	return user, password, longest >= 0
}

func (e login) fits(u *url.URL) bool {
	switch {
	case e.scheme != "" && e.scheme != u.Scheme, e.scheme == "" && !e.plain && u.Scheme != "https":
		return false
	case e.host != strings.ToLower(u.Hostname()), e.port != "" && e.port != u.Port():
		return false
	}
	return strings.HasPrefix(u.EscapedPath(), e.path) || strings.HasPrefix(u.Path, e.path)
}

// tokens splits a netrc file into words; one in double quotes may hold blanks.
type tokens struct{ rest string }

// next returns the next word; ok is false at the end.
func (t *tokens) next() (word string, ok bool) {
	t.rest = strings.TrimLeft(t.rest, " \t\r\n")
	if strings.HasPrefix(t.rest, `"`) {
		return t.quoted(), true
	}
	i := strings.IndexAny(t.rest, " \t\r\n")
	if i < 0 {
		i = len(t.rest)
	}
	word, t.rest = t.rest[:i], t.rest[i:]
	return word, word != ""
}

func (t *tokens) value() string {
	word, _ := t.next()
	return word
}

func (t *tokens) quoted() string {
	var b strings.Builder
	for i := 1; i < len(t.rest); i++ {
		switch c := t.rest[i]; {
		case c == '"':
			t.rest = t.rest[i+1:]
			return b.String()
		case c == '\\' && i+1 < len(t.rest):
			i++
			b.WriteByte(t.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	t.rest = ""
	return b.String()
}

// skipLine leaves out the rest of a comment.
func (t *tokens) skipLine() { _, t.rest, _ = strings.Cut(t.rest, "\n") }

// skipMacro leaves out a macro, which ends with an empty line.
func (t *tokens) skipMacro() { _, t.rest, _ = strings.Cut(t.rest, "\n\n") }
