package main

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"
)

// ghScope is what expressions of a workflow or of a composite action see.
type ghScope struct {
	values map[string]string            // matrix.root, github.event_name, inputs.roots
	steps  map[string]map[string]string // outputs of the steps so far, skipped ones too
	failed *bool                        // whether a step of the job has failed
}

// fill replaces each ${{ }} of a text.
func (s *ghScope) fill(text string) (string, error) {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		expr, after, found := strings.Cut(rest, "}}")
		if !found {
			return "", fmt.Errorf("%q has no end", rest)
		}
		v, err := s.eval(expr)
		if err != nil {
			return "", err
		}
		fmt.Fprint(&out, v)
		text = after
	}
}

// holds evaluates an if:, which is success() && it unless it asks for a status.
func (s *ghScope) holds(cond string) (bool, error) {
	cond = strings.TrimSpace(cond)
	if strings.HasPrefix(cond, "${{") {
		cond = strings.TrimSuffix(strings.TrimPrefix(cond, "${{"), "}}")
	}
	if cond == "" {
		return !*s.failed, nil
	}
	v, err := s.eval(cond)
	if !regexp.MustCompile(`\b(always|failure|success)\(`).MatchString(cond) && *s.failed {
		return false, err
	}
	return ghTrue(v), err
}

func ghTrue(v any) bool { return v != false && v != "" }

var ghToken = regexp.MustCompile(`^\s*('(?:[^']|'')*'|[A-Za-z_][\w.-]*|==|!=|&&|\|\||!|\(|\))`)

// ghParser evaluates while it reads. What it does not know is an error, never empty.
type ghParser struct {
	scope *ghScope
	rest  string
}

func (s *ghScope) eval(expr string) (v any, err error) {
	p := &ghParser{s, expr}
	defer func() {
		if r := recover(); r != nil {
			e, is := r.(ghError)
			if !is {
				panic(r)
			}
			err = fmt.Errorf("expression %q: %w", expr, e.error)
		}
	}()
	v = p.or()
	if strings.TrimSpace(p.rest) != "" {
		p.fail("%q is not understood", p.rest)
	}
	return v, nil
}

type ghError struct{ error }

func (p *ghParser) fail(format string, args ...any) { panic(ghError{fmt.Errorf(format, args...)}) }

func (p *ghParser) peek() string {
	if m := ghToken.FindStringSubmatch(p.rest); m != nil {
		return m[1]
	}
	return ""
}

func (p *ghParser) take(token string) bool {
	if token == "" || p.peek() != token {
		return false
	}
	p.rest = p.rest[len(ghToken.FindString(p.rest)):]
	return true
}

func (p *ghParser) or() any {
	v := p.and()
	for p.take("||") {
		if w := p.and(); !ghTrue(v) {
			v = w
		}
	}
	return v
}

func (p *ghParser) and() any {
	v := p.equal()
	for p.take("&&") {
		if w := p.equal(); ghTrue(v) {
			v = w
		}
	}
	return v
}

func (p *ghParser) equal() any {
	v := p.one()
	for {
		switch {
		case p.take("=="):
			v = p.same(v, p.one())
		case p.take("!="):
			v = !p.same(v, p.one())
		default:
			return v
		}
	}
}

// same compares strings as GitHub does, without regard to case. It has rules for other types, which nobody here needs.
func (p *ghParser) same(a, b any) bool {
	x, ok1 := a.(string)
	y, ok2 := b.(string)
	if !ok1 || !ok2 {
		p.fail("%v and %v are not two strings", a, b)
	}
	return strings.EqualFold(x, y)
}

func (p *ghParser) one() any {
	switch {
	case p.take("!"):
		return !ghTrue(p.one())
	case p.take("("):
		v := p.or()
		if !p.take(")") {
			p.fail("a ) is missing")
		}
		return v
	}
	word := p.peek()
	if !p.take(word) {
		p.fail("%q is not understood", p.rest)
	}
	if word[0] == '\'' {
		return strings.ReplaceAll(word[1:len(word)-1], "''", "'")
	}
	if p.take("(") {
		if !p.take(")") {
			p.fail("%s with arguments is not known", word)
		}
		switch word {
		case "always":
			return true
		case "success":
			return !*p.scope.failed
		case "failure":
			return *p.scope.failed
		}
		p.fail("the function %s is not known", word)
	}
	return p.value(word)
}

func (p *ghParser) value(name string) any {
	if v, ok := p.scope.values[name]; ok {
		return v
	}
	if w := strings.Split(name, "."); len(w) == 4 && w[0] == "steps" && w[2] == "outputs" {
		outputs, ok := p.scope.steps[w[1]]
		if !ok {
			p.fail("there is no step %s before this one", w[1])
		}
		return outputs[w[3]]
	}
	p.fail("%s is not known", name)
	return nil
}

func TestGitHubExpressions(t *testing.T) {
	failed := false
	s := &ghScope{values: map[string]string{"github.event_name": "push", "matrix.root": "bionic", "inputs.none": ""},
		steps: map[string]map[string]string{"cache": {"cache-hit": "true"}}, failed: &failed}
	for expr, want := range map[string]any{
		"matrix.root": "bionic",
		"steps.cache.outputs.cache-hit == 'true'": true,
		"steps.cache.outputs.other":               "",
		"steps.cache.outputs.cache-hit != 'TRUE'": false,
		"'it''s'": "it's",
		"!(matrix.root == 'x') && github.event_name":        "push",
		"inputs.none || 'default'":                          "default",
		"always() && !failure()":                            true,
		"matrix.root == 'x' || github.event_name == 'push'": true,
	} {
		if v, err := s.eval(expr); err != nil || v != want {
			t.Errorf("%s: %v, %v", expr, v, err)
		}
	}
	for _, expr := range []string{"matrix.rot", "steps.key.outputs.key", "hashFiles('x')", "toJSON()", "1 + 1", "matrix.root ==", "(matrix.root", "always() == 'true'", "secrets.TOKEN", ""} {
		if v, err := s.eval(expr); err == nil {
			t.Errorf("%s: %v, want an error", expr, v)
		}
	}
	conds := map[string]bool{"": false, "always()": true, "github.event_name == 'push'": false, "failure() && matrix.root == 'bionic'": true}
	failed = true
	for cond := range maps.Keys(conds) {
		if got, err := s.holds(cond); err != nil || got != conds[cond] {
			t.Errorf("if: %s after a failure: %v, %v", cond, got, err)
		}
	}
	if got, err := s.fill("rootctl-shell ${{ matrix.root }} {0}"); err != nil || got != "rootctl-shell bionic {0}" {
		t.Errorf("%q, %v", got, err)
	}
}
