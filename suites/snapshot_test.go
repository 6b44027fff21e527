package suites

import (
	"strings"
	"testing"
	"time"
)

func TestSnapshotURL(t *testing.T) {
	set, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600))
	for _, tt := range []struct{ suite, pocket, arch, pattern, want string }{
		{"noble", "release", "amd64", "", "https://snapshot.ubuntu.com/ubuntu/20260301T110000Z"},
		{"noble", "security", "amd64", "", "https://snapshot.ubuntu.com/ubuntu/20260301T110000Z"},
		{"noble", "updates", "arm64", "http://s.example/x/{archive}/{time}/", "http://s.example/x/ubuntu-ports/20260301T110000Z"},
		{"trixie", "release", "amd64", "", ""},
		{"trixie", "release", "amd64", "http://s.example/{archive}/{time}", "http://s.example/debian/20260301T110000Z"},
		{"trixie", "security", "amd64", "http://s.example/{archive}/{time}", "http://s.example/debian-security/20260301T110000Z"},
	} {
		su, err := set.Lookup(tt.suite)
		if err != nil {
			t.Fatal(err)
		}
		pattern := tt.pattern
		if pattern == "" {
			pattern = su.Snapshot
		}
		p, _ := su.Pocket(tt.pocket)
		if got := su.SnapshotURL(pattern, p, tt.arch, at); got != tt.want {
			t.Errorf("%s %s %s: %q, want %q", tt.suite, tt.pocket, tt.arch, got, tt.want)
		}
	}
}

func TestCheckSnapshot(t *testing.T) {
	for pattern, want := range map[string]string{
		"https://s.example/{archive}/{time}": "", "http://s.example/{time}/x": "",
		"": "plain http", "/srv/{time}": "plain http", "ftp://s.example/{time}": "plain http", "http://u:p@s.example/{time}": "plain http",
		"http://s.example/{archive}": "{time}", "http://{time}.example/": "{time}", "http://s.example/{time}/{suite}": "braces", "http://s.example/?t={time}": "braces",
	} {
		err := CheckSnapshot(pattern)
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", pattern, err)
		}
	}
}
