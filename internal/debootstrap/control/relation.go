package control

import (
	"fmt"
	"strings"
)

// A Relation is what one comma-separated item of Depends and its kin asks for: any one of its
// alternatives.
type Relation []Alternative

// An Alternative is one package of a Relation:
//
//	name[:qualifier] [(op version)] [[arch ...]] [<profile ...> ...]
type Alternative struct {
	Name     string
	ArchQual string     // after the colon: any, native or an architecture; or ""
	Op       string     // << <= = >= >>, the old < (means <=) and > (means >=); "" when any version will do
	Version  string     // "" with Op
	Archs    []string   // as written, so possibly with a "!"
	Profiles [][]string // a list per <...>, terms as written
}

// ParseRelations reads a relation field: Depends, Conflicts, Provides, Build-Depends. An empty field
// has no relations, a comma may stand at its end. Values are substrings of s.
func ParseRelations(s string) ([]Relation, error) {
	p := relationParser{s: s}
	p.space()
	if p.end() {
		return nil, nil
	}
	relations := make([]Relation, 0, 1+strings.Count(s, ","))
	for {
		relation, err := p.relation()
		if err != nil {
			return nil, fmt.Errorf("parse relation %q at byte %d: %w", context(s, p.pos), p.pos, err)
		}
		relations = append(relations, relation)
		if p.end() {
			return relations, nil
		}
		p.pos++ // the comma
		p.space()
		if p.end() {
			return relations, nil
		}
	}
}

// context is the item around pos, for messages.
func context(s string, pos int) string {
	start := strings.LastIndexByte(s[:pos], ',') + 1
	end := len(s)
	if i := strings.IndexByte(s[pos:], ','); i >= 0 {
		end = pos + i
	}
	return trim(clip(s[start:end]))
}

type relationParser struct {
	s   string
	pos int
}

func (p *relationParser) end() bool { return p.pos == len(p.s) }

func (p *relationParser) at(c byte) bool { return p.pos < len(p.s) && p.s[p.pos] == c }

func (p *relationParser) space() {
	for p.pos < len(p.s) && isSpace(p.s[p.pos]) {
		p.pos++
	}
}

// word takes bytes up to white space or one of stops.
func (p *relationParser) word(stops string) string {
	start := p.pos
	for p.pos < len(p.s) && !isSpace(p.s[p.pos]) && strings.IndexByte(stops, p.s[p.pos]) < 0 {
		p.pos++
	}
	return p.s[start:p.pos]
}

// relation ends at the end or on a comma.
func (p *relationParser) relation() (Relation, error) {
	var relation Relation
	for {
		a, err := p.alternative()
		if err != nil {
			return nil, err
		}
		relation = append(relation, a)
		switch {
		case p.end() || p.at(','):
			return relation, nil
		case p.at('|'):
			p.pos++
			p.space()
		default:
			return nil, fmt.Errorf("unexpected %q", p.s[p.pos])
		}
	}
}

func (p *relationParser) alternative() (a Alternative, err error) {
	a.Name = p.word(",|([<:")
	if reason := badName(a.Name); reason != "" {
		return a, fmt.Errorf("package name %q %s", clip(a.Name), reason)
	}
	if p.at(':') {
		p.pos++
		a.ArchQual = p.word(",|([<:")
		if reason := badName(a.ArchQual); reason != "" {
			return a, fmt.Errorf("architecture %q %s", clip(a.ArchQual), reason)
		}
	}
	p.space()
	if p.at('(') {
		if err := p.version(&a); err != nil {
			return a, err
		}
	}
	if p.at('[') {
		p.pos++
		if a.Archs, err = p.list(']'); err != nil {
			return a, err
		}
	}
	for p.at('<') {
		p.pos++
		terms, err := p.list('>')
		if err != nil {
			return a, err
		}
		a.Profiles = append(a.Profiles, terms)
	}
	return a, nil
}

// version reads "(op version)". Without an operator dpkg takes =.
func (p *relationParser) version(a *Alternative) error {
	p.pos++
	p.space()
	start := p.pos
	for p.at('<') || p.at('=') || p.at('>') {
		p.pos++
	}
	switch a.Op = p.s[start:p.pos]; a.Op {
	case "":
		a.Op = "="
	case "<<", "<=", "=", ">=", ">>", "<", ">":
	default:
		return fmt.Errorf("unknown relation %q", clip(a.Op))
	}
	p.space()
	a.Version = p.word("()<=>,|")
	p.space()
	if a.Version == "" || !p.at(')') {
		return fmt.Errorf("version of %s is empty, malformed or not closed", a.Name)
	}
	p.pos++
	p.space()
	return nil
}

// list reads terms up to the closing bracket.
func (p *relationParser) list(closing byte) ([]string, error) {
	var terms []string
	for p.space(); !p.at(closing); p.space() {
		term := p.word("[]<>(),|")
		if badName(strings.TrimPrefix(term, "!")) != "" {
			return nil, fmt.Errorf("list is malformed or not closed by %q", closing)
		}
		terms = append(terms, term)
	}
	p.pos++
	p.space()
	if len(terms) == 0 {
		return nil, fmt.Errorf("list closed by %q is empty", closing)
	}
	return terms, nil
}

// badName says what is wrong with a package or architecture name by dpkg's rule, or "".
func badName(s string) string {
	if s == "" {
		return "is empty"
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c-'0' <= 9 || c|0x20-'a' < 26 {
			continue
		}
		if i == 0 {
			return "does not begin with a letter or digit"
		}
		if c != '-' && c != '+' && c != '.' && c != '_' {
			return "has an illegal character"
		}
	}
	return ""
}
