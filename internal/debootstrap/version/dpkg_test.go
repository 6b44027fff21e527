package version

import (
	"errors"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// agree checks Compare, Valid and Satisfies on one pair against dpkg.
func agree(t *testing.T, a, b string) {
	t.Helper()
	for _, s := range []string{a, b} {
		_, err := Parse(s)
		if hard := ask(t, s, "eq", s) == 2; hard != (err != nil) {
			t.Fatalf("%q: dpkg refuses: %v; we: %v", s, hard, err)
		}
		out, err := exec.Command("dpkg", "--validate-version", " "+s).CombinedOutput()
		if ours := Valid(s); (ours == nil) != (err == nil) {
			t.Fatalf("Valid(%q) = %v; dpkg: %v %s", s, ours, err, out)
		} else if reason := (*SyntaxError)(nil); errors.As(ours, &reason) && !strings.Contains(string(out), reason.Reason) {
			t.Fatalf("Valid(%q) = %v; dpkg's reason: %s", s, ours, out)
		}
		if err != nil && ask(t, s, "eq", s) == 2 {
			return
		}
	}
	got, err := Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	switch {
	case ask(t, a, "lt", b) == 0:
		want = -1
	case ask(t, a, "gt", b) == 0:
		want = 1
	}
	if got != want {
		t.Fatalf("Compare(%q, %q) = %d; dpkg: %d", a, b, got, want)
	}
	for _, op := range []string{"<<", "<=", "=", ">=", ">>", "<", ">"} {
		ok, err := Satisfies(a, op, b)
		if err != nil || ok != (ask(t, a, op, b) == 0) {
			t.Fatalf("Satisfies(%q, %q, %q) = %v, %v; dpkg disagrees", a, op, b, ok, err)
		}
	}
}

func TestAgainstDpkg(t *testing.T) {
	needDpkg(t)
	const alphabet = "0001299aZz.+~-:_ "
	r := rand.New(rand.NewPCG(1, 2))
	word := func() string {
		b := []byte{"0123456789"[r.IntN(10)]}
		for range r.IntN(7) {
			b = append(b, alphabet[r.IntN(len(alphabet))])
		}
		return string(b[r.IntN(8)/7:])
	}
	for range 120 {
		a := word()
		b := a
		switch i := r.IntN(len(a) + 1); r.IntN(3) {
		case 0:
			b = word()
		case 1: // nearly alike, where mistakes hide
			b = a[:i] + string(alphabet[r.IntN(len(alphabet))]) + a[i:]
		}
		agree(t, a, b)
	}
}

func FuzzCompare(f *testing.F) {
	needDpkg(f)
	f.Add("1:2.3-4", "2.3-4~")
	f.Add("-0:1~", "+1:1.0+b1")
	f.Add("0001a", "1a")
	f.Add("0\t", "0")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{a, b} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }) {
				if Valid(s) == nil {
					t.Fatalf("Valid(%q)", s)
				}
				t.Skip("not ASCII text: dpkg's order depends on the machine")
			}
		}
		agree(t, a, b)
	})
}
