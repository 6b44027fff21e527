package debootstrap

import "testing"

func TestSortMakefile(t *testing.T) {
	for _, tc := range []struct{ summary, in, want string }{
		{"words and rules", "TARGETS = b a c\nINTERACTIVE = z y\nb: d c\na: b\n", "TARGETS = a b c\nINTERACTIVE = y z\na: b\nb: c d\n"},
		{"an empty list", "TARGETS = a\nINTERACTIVE =\n", "TARGETS = a\nINTERACTIVE =\n"},
		{"not insserv's", "# mine\nTARGETS = b a\n", "# mine\nTARGETS = b a\n"},
		{"nothing", "", ""},
	} {
		if got := sortMakefile(tc.in); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.summary, got, tc.want)
		}
	}
}
