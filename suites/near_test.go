package suites

import (
	"errors"
	"strings"
	"testing"
)

// TestNear has the words that people type for a suite.
func TestNear(t *testing.T) {
	s := load(t)
	for name, want := range map[string]string{
		"debian": "trixie bookworm", "Debian": "trixie bookworm", "debian:latest": "trixie bookworm", "debian-stable": "trixie",
		"ubuntu": "resolute noble", "ubuntu-buildd": "resolute noble",
		"12": "bookworm", "12.5": "bookworm", "debian-12": "bookworm", "Debian12": "bookworm", "debian:bookworm-slim": "bookworm",
		"18": "bionic", "ubuntu18.04": "bionic", "ubuntu-18.04": "bionic", "ubuntu:bionic": "bionic", "22.04.3": "jammy",
		"ubuntu:binoic": "bionic", "Bionic": "bionic", "boinic": "bionic", "trixy": "trixie", "nothingofthekind": "",
	} {
		_, err := s.Lookup(name)
		var unknown *UnknownSuite
		if !errors.As(err, &unknown) {
			t.Errorf("%s: %v", name, err)
		} else if got := strings.Join(unknown.Near, " "); got != want {
			t.Errorf("%s: did you mean %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"debian12": "bookworm", "22.04": "jammy", "18.04": "bionic"} {
		if su, err := s.Lookup(name); err != nil || su.Codename != want {
			t.Errorf("%s: %q, %v", name, su.Codename, err)
		}
	}
}
