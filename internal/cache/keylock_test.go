package cache

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Who waits is told by whom: for the same key, for another with the same lock file, and for one who has not said.
func TestKeyHolder(t *testing.T) {
	s := open(t)
	a := Digest("aa" + strings.Repeat("1", 62))
	other := Digest("aa" + strings.Repeat("2", 62))
	if what, own := s.KeyHolder(a); what != "" || own {
		t.Errorf("before anybody had it: %q, %v", what, own)
	}
	l, err := s.LockKey(context.Background(), a, nil)
	must(t, err)
	told := 0
	ask := func(key Digest, want string, wantOwn bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err := s.LockKey(ctx, key, func() {
			told++
			if what, own := s.KeyHolder(key); what != want || own != wantOwn {
				t.Errorf("holder: %q, %v; want %q, %v", what, own, want, wantOwn)
			}
		})
		if err == nil {
			t.Error("two have one lock")
		}
	}
	ask(a, "", true)
	l.Announce("build of bionic, which has a long name")
	ask(a, "build of bionic, which has a long name", true)
	ask(other, "build of bionic, which has a long name", false)
	l.Announce("build\nof x")
	ask(a, "build of x", true)
	if told != 4 {
		t.Errorf("told %d times of 4", told)
	}
	l.Close()
	l, err = s.LockKey(context.Background(), other, func() { t.Error("waits for nobody") })
	must(t, err)
	defer l.Close()
	ask(a, "", false) // not what the last holder said
}
