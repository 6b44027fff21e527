package archive

import (
	"slices"
	"strings"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
)

// source is one entry of apt's sources: sources.list(5).
type source struct {
	uris, suites, components  []string
	archs, notArchs, signedBy []string
}

// parseOneLine reads "deb [option=value ...] URI suite component ..." lines.
func parseOneLine(text string) []source {
	var all []source
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		kind, rest := cutBlank(line)
		if kind != "deb" {
			continue
		}
		var s source
		if strings.HasPrefix(rest, "[") {
			options, after, ok := strings.Cut(rest[1:], "]")
			if !ok {
				continue
			}
			rest = after
			for _, o := range strings.Fields(options) {
				s.option(o)
			}
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			s.uris, s.suites, s.components = f[:1], f[1:2], f[2:]
			all = append(all, s)
		}
	}
	return all
}

// cutBlank splits off the first word.
func cutBlank(s string) (word, rest string) {
	s = strings.TrimSpace(s)
	i := strings.IndexAny(s, " \t[")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

func (s *source) option(o string) {
	name, value, _ := strings.Cut(o, "=")
	values := strings.FieldsFunc(value, func(c rune) bool { return c == ',' })
	switch strings.ToLower(strings.TrimRight(name, "+-")) {
	case "arch":
		switch {
		case strings.HasSuffix(name, "-"):
			s.notArchs = append(s.notArchs, values...)
		case !strings.HasSuffix(name, "+"):
			s.archs = append(s.archs, values...)
		}
	case "signed-by":
		s.signedBy = append(s.signedBy, values...)
	}
}

// parseDeb822 reads paragraphs of Types, URIs, Suites and Components.
func parseDeb822(text string) []source {
	var all []source
	for p, err := range control.Paragraphs(text) {
		if err != nil {
			break
		}
		words := func(name string) []string { return strings.Fields(control.Field(p, name)) }
		if !slices.Contains(words("Types"), "deb") || isNo(control.Field(p, "Enabled")) {
			continue
		}
		s := source{uris: words("URIs"), suites: words("Suites"), components: words("Components"),
			archs: words("Architectures"), notArchs: words("Architectures-Remove"),
			signedBy: strings.FieldsFunc(control.Field(p, "Signed-By"), func(c rune) bool { return strings.ContainsRune(", \t\n", c) })}
		if strings.Contains(control.Field(p, "Signed-By"), "BEGIN PGP") {
			s.signedBy = []string{"a key within the file"} // of whom, only verification tells: take it for a third party's
		}
		all = append(all, s)
	}
	return all
}

// isNo holds for apt's spellings of false: StringToBool.
func isNo(s string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(s))
}
