package cache

import (
	"strings"
	"testing"
)

// Digests that begin alike, as those do that were changed by hand, are shown whole.
func TestMismatchShowsTheDifference(t *testing.T) {
	want := Sum([]byte("x"))
	for at, long := range map[int]bool{0: false, 14: true} {
		b := []byte(want)
		b[at] ^= 1
		text := (&MismatchError{Want: want, Got: Digest(b)}).Error()
		first, second, _ := strings.Cut(strings.TrimPrefix(text, "sha256 is "), ", not ")
		if first == second || len(first) != len(second) || (len(first) == 64) != long {
			t.Errorf("digit %d: %s", at, text)
		}
	}
}
