package version

import (
	"errors"
	"os/exec"
	"testing"
)

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1", "1", 0},
		{"1.0", "1.0-0", 0},
		{"0:1", "1", 0},
		{"1.0~rc1", "1.0", -1},
		{"1.0~~", "1.0~", -1},
		{"1.0~~a", "1.0~", -1},
		{"1.0", "1.0+b1", -1},
		{"1.0a", "1.0+", -1},
		{"1.2", "1.10", -1},
		{"1.02", "1.2", 0},
		{"1.a", "1.0a", 1},
		{"2:1", "1:9", 1},
		{"1-1-1", "1-1-2", -1},
		{"1-1", "1-1.1", -1},
		{"5.15.0-1", "5.15.0-1~20.04", 1},
		{"99999999999999999999999", "99999999999999999999998", 1},
		{" 1 ", "1", 0},
		{"a", "1", 1}, // only Valid minds
	} {
		got, err := Compare(c.a, c.b)
		if err != nil || got != c.want {
			t.Errorf("Compare(%q, %q) = %d, %v; want %d", c.a, c.b, got, err, c.want)
		}
		got, err = Compare(c.b, c.a)
		if err != nil || got != -c.want {
			t.Errorf("Compare(%q, %q) = %d, %v; want %d", c.b, c.a, got, err, -c.want)
		}
	}
}

func TestValid(t *testing.T) {
	for _, s := range []string{"1", "0", "1:2-3", "1:2:3-4", "2.36-9+deb12u10", "1~rc1+dfsg-1~bpo12+1", "+1:2", "-0:1"} {
		if err := Valid(s); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{
		"", " ", "1 2", ":1", "a:1", "1a:1", "-1:1", "2147483648:1", "1:", "1-", "-1", "a1", "1_2", "1-2-3_", "1/2",
		"1\n", "é", "1é", "1:-1", "--1:1", "+-1:1", "99999999999999999999:1",
	} {
		var e *SyntaxError
		if err := Valid(s); !errors.As(err, &e) {
			t.Errorf("Valid(%q) = %v", s, err)
		}
	}
}

func TestSatisfies(t *testing.T) {
	for _, c := range []struct {
		have, op, want string
		ok             bool
	}{
		{"1", "<<", "2", true}, {"2", "<<", "2", false},
		{"2", "<=", "2", true}, {"3", "<=", "2", false},
		{"2", "<", "2", true}, {"3", "<", "2", false},
		{"2", "=", "2-0", true}, {"2", "=", "2-1", false},
		{"2", ">=", "2", true}, {"1", ">=", "2", false},
		{"2", ">", "2", true}, {"1", ">", "2", false},
		{"3", ">>", "2", true}, {"2", ">>", "2", false},
	} {
		if ok, err := Satisfies(c.have, c.op, c.want); err != nil || ok != c.ok {
			t.Errorf("Satisfies(%q, %q, %q) = %v, %v", c.have, c.op, c.want, ok, err)
		}
	}
	for _, c := range [][3]string{{"1", "==", "1"}, {"1", "", "1"}, {"", "=", "1"}, {"1", "=", "1-"}} {
		if _, err := Satisfies(c[0], c[1], c[2]); err == nil {
			t.Errorf("Satisfies(%q) passed", c)
		}
	}
}

// ask returns dpkg's verdict: 0 true, 1 false, 2 not a version.
func ask(t testing.TB, a, op, b string) int {
	t.Helper()
	// The blank keeps a leading hyphen from being read as an option.
	err := exec.Command("dpkg", "--compare-versions", " "+a, op, " "+b).Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	t.Fatal(err)
	return 0
}

func needDpkg(t testing.TB) {
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("needs dpkg: the oracle for version order")
	}
}
