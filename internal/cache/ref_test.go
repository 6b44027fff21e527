package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRefNames(t *testing.T) {
	s := open(t)
	for _, name := range []string{"bionic", "trixie-buildd", "bionic:i386", "my_tag.1+2", "B", "22.04",
		"trixie-minbase:kfreebsd-amd64", strings.Repeat("n", maxRefName)} {
		must(t, s.SetRef(Ref{Name: name, Root: Sum(nil)}, nil))
		r, err := s.Ref(name)
		must(t, err)
		if r.Name != name || r.Root != Sum(nil) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "-rf", ":amd64", "a:", "a::b",
		"a:-b", "a:b/c", "a b", "a\x00", "a\n", "ü", "a:../x", strings.Repeat("n", maxRefName+1), string(Sum(nil))} {
		var bad *RefNameError
		_, err := s.Ref(name)
		for _, err := range []error{err, s.SetRef(Ref{Name: name, Root: Sum(nil)}, nil), s.DeleteRef(name),
			s.StoreRelease(name, nil, nil)} {
			if !errors.As(err, &bad) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	refs, err := s.Refs()
	must(t, err)
	if len(refs) != 8 {
		t.Errorf("%d refs", len(refs))
	}
}

func TestRefs(t *testing.T) {
	s := open(t)
	one, two := Sum([]byte("1")), Sum([]byte("2"))
	none := Digest("")
	if _, err := s.Ref("bionic"); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent: %v", err)
	}
	var lost *RefError
	if err := s.SetRef(Ref{Name: "bionic", Root: one}, &two); !errors.As(err, &lost) {
		t.Errorf("absent, seen as two: %v", err)
	}
	when := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	must(t, s.SetRef(Ref{Name: "bionic", Root: one, Key: two, Time: when, Info: []byte(`{"signed":true}`)}, &none))
	if err := s.SetRef(Ref{Name: "bionic", Root: two}, &none); !errors.As(err, &lost) || lost.Now != one {
		t.Errorf("present, seen as absent: %v", err)
	}
	r, err := s.Ref("bionic")
	must(t, err)
	if r.Root != one || r.Key != two || !r.Time.Equal(when) || string(r.Info) != `{"signed":true}` {
		t.Errorf("%+v", r)
	}
	must(t, s.SetRef(Ref{Name: "bionic", Root: two}, &one))
	must(t, s.DeleteRef("bionic"))
	if err := s.DeleteRef("bionic"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := s.Ref("bionic"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func TestActions(t *testing.T) {
	s := open(t)
	want := map[Digest]string{}
	for i := range 5 {
		key := Sum([]byte(fmt.Sprint(i)))
		must(t, s.StoreAction(key, i))
		want[key] = fmt.Sprint(i)
	}
	var last Digest
	for key, raw := range s.Actions() {
		if want[key] != string(raw) || key <= last {
			t.Errorf("%s: %s", key, raw)
		}
		delete(want, key)
		last = key
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
	var other struct{ Name []string }
	if ok, err := s.LoadAction(last, &other); ok || err != nil {
		t.Errorf("record of another form: %v %v", ok, err)
	}
	if err := s.StoreInputs(last, []byte("not what the key is of")); err == nil {
		t.Error("inputs of another key were taken")
	}
	for _, key := range []Digest{"", "../../x", "ABC", last[1:] + "/"} {
		if s.StoreAction(key, 1) == nil || s.StoreInputs(key, nil) == nil {
			t.Errorf("took key %q", key)
		}
	}
}

// TestStoreReleaseAsks has a writer whose Release another has overtaken: the rule it brings decides, over what is there
// when it writes.
func TestStoreReleaseAsks(t *testing.T) {
	s := open(t)
	for _, tt := range []struct {
		b, want string
		replace func([]byte) bool
	}{
		{"2", "2", func([]byte) bool { t.Error("asked about nothing"); return false }},
		{"1", "2", func(now []byte) bool { return string(now) < "1" }},
		{"3", "3", func(now []byte) bool { return string(now) < "3" }},
		{"0", "0", nil},
	} {
		must(t, s.StoreRelease("one", []byte(tt.b), tt.replace))
		if got, err := s.LoadRelease("one"); err != nil || string(got) != tt.want {
			t.Errorf("after %s: %q, %v, want %s", tt.b, got, err, tt.want)
		}
	}
}
