package version

import "fmt"

// Compare returns -1, 0 or +1 as a is older than, as old as, or newer than b.
func Compare(a, b string) (int, error) {
	if a == b {
		_, err := Parse(a)
		return 0, err
	}
	va, err := Parse(a)
	if err != nil {
		return 0, err
	}
	vb, err := Parse(b)
	if err != nil {
		return 0, err
	}
	return va.Compare(vb), nil
}

// Compare returns -1, 0 or +1 as v is older than, as old as, or newer than w.
func (v Version) Compare(w Version) int {
	switch {
	case v.Epoch < w.Epoch:
		return -1
	case v.Epoch > w.Epoch:
		return 1
	}
	if c := comparePart(v.Upstream, w.Upstream); c != 0 {
		return c
	}
	return comparePart(v.Revision, w.Revision)
}

// Satisfies reports whether version have stands in relation op to want, as in a dependency's
// parentheses: << <= = >= >>, and the old < and > which mean <= and >=.
func Satisfies(have, op, want string) (bool, error) {
	c, err := Compare(have, want)
	if err != nil {
		return false, err
	}
	switch op {
	case "<<":
		return c < 0, nil
	case "<=", "<":
		return c <= 0, nil
	case "=":
		return c == 0, nil
	case ">=", ">":
		return c >= 0, nil
	case ">>":
		return c > 0, nil
	}
	return false, fmt.Errorf("compare versions: unknown relation %q", op)
}

// comparePart orders two upstream versions or two revisions: by turns a run of non-digits, in
// which letters sort before other characters and a tilde before everything, even the end, and a
// run of digits by value.
func comparePart(a, b string) int {
	for i, j := 0, 0; i < len(a) || j < len(b); {
		for (i < len(a) && !isDigit(a[i])) || (j < len(b) && !isDigit(b[j])) {
			x, y := order(a, i), order(b, j)
			if x != y {
				return sign(x - y)
			}
			i++
			j++
		}
		for i < len(a) && a[i] == '0' {
			i++
		}
		for j < len(b) && b[j] == '0' {
			j++
		}
		first := 0
		for i < len(a) && j < len(b) && isDigit(a[i]) && isDigit(b[j]) {
			if first == 0 {
				first = int(a[i]) - int(b[j])
			}
			i++
			j++
		}
		switch {
		case i < len(a) && isDigit(a[i]):
			return 1
		case j < len(b) && isDigit(b[j]):
			return -1
		case first != 0:
			return sign(first)
		}
	}
	return 0
}

// order is a character's weight in a run of non-digits; the end and digits weigh nothing.
func order(s string, i int) int {
	if i >= len(s) || isDigit(s[i]) {
		return 0
	}
	switch c := s[i]; {
	case isAlpha(c):
		return int(c)
	case c == '~':
		return -1
	default:
		return int(c) + 256
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}
