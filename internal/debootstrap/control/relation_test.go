package control

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRelations(t *testing.T) {
	for _, c := range []struct {
		text string
		want []Relation
	}{
		{"", nil},
		{" \n ", nil},
		{"a", []Relation{{{Name: "a"}}}},
		{"a,b|c", []Relation{{{Name: "a"}}, {{Name: "b"}, {Name: "c"}}}},
		{" a (>= 1:2-3~) ,\n b(<<4) | c:any ( = 5 ),", []Relation{
			{{Name: "a", Op: ">=", Version: "1:2-3~"}},
			{{Name: "b", Op: "<<", Version: "4"}, {Name: "c", ArchQual: "any", Op: "=", Version: "5"}},
		}},
		{"a (< 1), b (> 2), c (3)", []Relation{
			{{Name: "a", Op: "<", Version: "1"}}, {{Name: "b", Op: ">", Version: "2"}}, {{Name: "c", Op: "=", Version: "3"}},
		}},
		{"g++:native (>= 4) [!i386 linux-any] <!nocheck cross> <x>", []Relation{{{
			Name: "g++", ArchQual: "native", Op: ">=", Version: "4",
			Archs: []string{"!i386", "linux-any"}, Profiles: [][]string{{"!nocheck", "cross"}, {"x"}},
		}}}},
		{"a[amd64]<b>", []Relation{{{Name: "a", Archs: []string{"amd64"}, Profiles: [][]string{{"b"}}}}}},
	} {
		got, err := ParseRelations(c.text)
		if err != nil || !cmp.Equal(c.want, got) {
			t.Errorf("%q: %v %s", c.text, err, cmp.Diff(c.want, got))
		}
	}
	for _, text := range []string{
		",", "a,,b", "a |", "| a", "a || b", "a b", "a (", "a ()", "a (>=)", "a (>= 1", "a (>= 1 2)", "a (=> 1)", "a (>>> 1)",
		"a) b", "a (>= 1) (<< 2)", "a []", "a [", "a [i386", "a [!]", "a <>", "a <x", "-a", "a_b/c", "é", "a:", ":any", "a (1", "a [b,c]",
		"a (= 1)b", "${misc:Depends}",
	} {
		if got, err := ParseRelations(text); err == nil {
			t.Errorf("%q passed: %v", text, got)
		}
	}
}

// String writes a relation in one canonical form.
func (r Relation) text() string {
	var alternatives []string
	for _, a := range r {
		s := a.Name
		if a.ArchQual != "" {
			s += ":" + a.ArchQual
		}
		if a.Op != "" {
			s += " (" + a.Op + " " + a.Version + ")"
		}
		if a.Archs != nil {
			s += " [" + strings.Join(a.Archs, " ") + "]"
		}
		for _, p := range a.Profiles {
			s += " <" + strings.Join(p, " ") + ">"
		}
		alternatives = append(alternatives, s)
	}
	return strings.Join(alternatives, " | ")
}

func FuzzParseRelations(f *testing.F) {
	f.Add("a:any (>= 1) [!x] <y z> <w> | b, c (1)")
	f.Fuzz(func(t *testing.T, s string) {
		relations, err := ParseRelations(s)
		if err != nil {
			return
		}
		var parts []string
		for _, r := range relations {
			parts = append(parts, r.text())
		}
		again, err := ParseRelations(strings.Join(parts, ", "))
		if err != nil || !cmp.Equal(relations, again) {
			t.Fatalf("%q: %v %s", s, err, cmp.Diff(relations, again))
		}
	})
}

func FuzzParagraphs(f *testing.F) {
	f.Add("A: 1\r\n#c\n 2\n\nB : 3\n\n")
	f.Add(index(2))
	f.Fuzz(func(t *testing.T, data string) {
		var paragraphs []string
		for p, err := range Paragraphs(data) {
			if err != nil {
				return
			}
			n := 0
			for name, value := range Fields(p) {
				n++
				if got, ok := Lookup(p, name); !ok || got != value {
					t.Fatalf("Lookup(%q) = %q, %v; Fields says %q", name, got, ok, value)
				}
				if value != trim(value) || strings.Contains(value, "\n#") {
					t.Fatalf("value %q", value)
				}
			}
			if n == 0 {
				t.Fatalf("paragraph %q without fields", p)
			}
			paragraphs = append(paragraphs, p)
		}
		// What was accepted means the same when written out again.
		i := 0
		for p, err := range Paragraphs(strings.Join(paragraphs, "\n\n")) {
			if err != nil || i >= len(paragraphs) || strings.TrimRight(p, "\r\n") != strings.TrimRight(paragraphs[i], "\r\n") {
				t.Fatalf("read again: %v %q", err, p)
			}
			i++
		}
		if i != len(paragraphs) {
			t.Fatalf("%d paragraphs read again, had %d", i, len(paragraphs))
		}
	})
}
