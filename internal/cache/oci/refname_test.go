package oci

import (
	"regexp"
	"testing"
)

func TestRefName(t *testing.T) {
	// The grammar of image-spec's annotations.md.
	grammar := regexp.MustCompile(`^[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*$`)
	seen := map[string]string{}
	for name, want := range map[string]string{
		"bionic": "bionic", "bionic:i386": "bionic:i386", "trixie-buildd": "trixie-buildd", "my_own": "my_own", "g++": "g_2b_2b", "c+-x": "c_2b_2dx",
		"a_2b": "a_5f2b", "a_2c": "a_2c", "a--b": "a--b", "a---b": "a_2d_2d_2db", "a.": "a_2e", "a..b": "a_2e_2eb", "a_": "a_5f", "1.2": "1.2", "a+": "a_2b",
	} {
		got := RefName(name)
		if got != want || !grammar.MatchString(got) {
			t.Errorf("RefName(%q) = %q, want %q", name, got, want)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both %q", name, other, got)
		}
		seen[got] = name
	}
}

func FuzzRefName(f *testing.F) {
	grammar := regexp.MustCompile(`^[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*$`)
	ours := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*(:[A-Za-z0-9][A-Za-z0-9-]*)?$`)
	f.Add("a", "a_2b")
	f.Add("a:b", "a+:b-")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !ours.MatchString(a) || !ours.MatchString(b) {
			return
		}
		if !grammar.MatchString(RefName(a)) {
			t.Errorf("%q becomes %q", a, RefName(a))
		}
		if a != b && RefName(a) == RefName(b) {
			t.Errorf("%q and %q become %q", a, b, RefName(a))
		}
	})
}
