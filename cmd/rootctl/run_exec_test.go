package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/runner"
)

func TestEnvFile(t *testing.T) {
	got, err := parseEnv(strings.NewReader("\ufeff# comment\n\nA=1\n  B=two words # no comment\nC\nD=\"quoted\"\r\nE=\nF=a=b\n"), "f")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"A=1", "B=two words # no comment", "C", "D=\"quoted\"", "E=", "F=a=b"}, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"=x\n", "A B=x\n", "A=\x00\n", "A=" + strings.Repeat("x", maxEnvFile)} {
		if _, err := parseEnv(strings.NewReader(bad), "f"); err == nil {
			t.Errorf("%.10q was taken", bad)
		}
	}
}

func TestEnvOfAccount(t *testing.T) {
	env := []string{"PATH=/bin", "HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8", "HOME=/root"}
	got := envOf(env, runner.Account{Identity: runner.Identity{UID: 7}, Home: "/"})
	if d := cmp.Diff([]string{"PATH=/bin", "HOME=/", "USER=7", "LOGNAME=7", "LANG=C.UTF-8", "HOME=/root"}, got); d != "" {
		t.Error(d)
	}
}
