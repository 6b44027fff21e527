package archive

import (
	"fmt"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"
)

const sum0 = "0000000000000000000000000000000000000000000000000000000000000000"

func TestParseRelease(t *testing.T) {
	text := "Origin: Ubuntu\nLabel: Ubuntu\nSuite: bionic\nCodename: bionic\nDate: Thu,  5 Apr 2018 23:37:48 UTC\n" +
		"Valid-Until: Thu, 12 Apr 2018 23:37:48 +0000\nAcquire-By-Hash: yes\nArchitectures: amd64 i386\nComponents: main universe\n" +
		"MD5Sum:\n 00 1 main/evil\nSHA256:\n " + sum0 + "          6214952 main/binary-amd64/Packages\n " + sum0 + " 0 b\n"
	r, err := parseRelease([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if r.Origin != "Ubuntu" || r.Suite != "bionic" || !r.ByHash || len(r.Components) != 2 || len(r.Files) != 2 ||
		!r.Date.Equal(time.Date(2018, 4, 5, 23, 37, 48, 0, time.UTC)) || r.ValidUntil.Sub(r.Date) != 7*24*time.Hour {
		t.Errorf("%+v", r)
	}
	if f := r.Files["main/binary-amd64/Packages"]; f.Size != 6214952 || f.SHA256 != sum0 {
		t.Errorf("%+v", f)
	}
}

func TestParseReleaseRefuses(t *testing.T) {
	const head = "Suite: x\nDate: Thu, 05 Apr 2018 23:37:48 UTC\n"
	line := func(s string) string { return head + "SHA256:\n " + s + "\n" }
	for _, c := range []struct{ text, says string }{
		{"", "empty"},
		{"Suite: x\nSHA256:\n " + sum0 + " 1 a\n", "no Date"},
		{head, "no SHA256"},
		{head + "SHA256:\n " + sum0 + " 1 a\n\nSuite: y\n", "second paragraph"},
		{head + "suite: y\nSHA256:\n " + sum0 + " 1 a\n", "duplicate"},
		{"Date: Thu, 05 Apr 2018 23:37:48 PST\n", "not a date"},
		{"Date: tomorrow\n", "not a date"},
		{line("zz 1 a"), "no sha256"},
		{line(strings.ToUpper("abcdef") + sum0[6:] + " 1 a"), "no sha256"},
		{line(sum0 + " -1 a"), "no size"},
		{line(sum0 + " +1 a"), "no size"},
		{line(sum0 + " 99999999999999999999 a"), "no size"},
		{line(sum0 + " 9999999999999 a"), "no size"},
		{line(sum0 + " 1"), "not digest"},
		{line(sum0 + " 1 a b"), "not digest"},
		{line(sum0 + " 1 ../a"), "bad path"},
		{line(sum0 + " 1 /a"), "bad path"},
		{line(sum0 + " 1 a/../b"), "bad path"},
		{line(sum0 + " 1 a/./b"), "bad path"},
		{line(sum0 + " 1 .."), "bad path"},
		{line(sum0 + " 1 a//b"), "bad path"},
		{line(sum0 + " 1 a\x01b"), "bad path"},
		{line(sum0 + ` 1 a\b`), "bad path"},
		{line(sum0 + " 1 a\n " + sum0 + " 2 a"), "listed twice"},
	} {
		if _, err := parseRelease([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.text, err, c.says)
		}
	}
	if _, err := parseRelease(make([]byte, maxRelease+1)); err == nil {
		t.Error("too large a Release was parsed")
	}
}

func FuzzRelease(f *testing.F) {
	f.Add([]byte("Suite: x\nDate: Thu, 05 Apr 2018 23:37:48 UTC\nSHA256:\n " + sum0 + " 1 a\n"))
	f.Add(hello().Files()["dists/bionic/Release"])
	f.Add([]byte("Date: Thu,  5 Apr 2018 23:37:48 +0100\nSHA256: " + sum0 + " 1 a/b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRelease(b)
		if err != nil {
			return
		}
		for p, e := range r.Files {
			if p != e.Path || path.IsAbs(p) || path.Clean("/"+p) != "/"+p || e.Size < 0 || !e.SHA256.Valid() {
				t.Fatalf("%q: %+v", p, e)
			}
			if !strings.Contains(string(b), fmt.Sprint(e.SHA256)) {
				t.Fatalf("%+v is of nowhere", e)
			}
		}
	})
}

func FuzzWithoutSignature(f *testing.F) {
	f.Add(hello().Files()["dists/bionic/InRelease"])
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n\n- - \n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if out := withoutSignature(b); len(out) > len(b)+1 {
			t.Fatalf("%d bytes of %d", len(out), len(b))
		}
	})
}

// How many lines a Release has is its sender's to choose; room is made for as many files as are taken at most.
func TestManyLinesTakeNoRoom(t *testing.T) {
	text := "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n" + strings.Repeat(" x\n", 5_000_000)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := parseRelease([]byte(text)); err == nil {
		t.Error("no error")
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 100<<20 {
		t.Errorf("%d MB for a text of %d MB", got>>20, len(text)>>20)
	}
}
