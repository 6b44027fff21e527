package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

func TestOtherCache(t *testing.T) {
	dir := t.TempDir()
	refs := filepath.Join(dir, "home", ".cache", "rootctl", "refs")
	if err := os.MkdirAll(refs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(refs, "bionic"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ann := &user.User{Uid: "1000", Username: "ann", HomeDir: filepath.Join(dir, "home")}
	for _, c := range []struct {
		summary, name, roots string
		ordinary             bool
		behind               *user.User
		want                 string
	}{
		{"a user beside root's", "bionic", dir, true, nil, "building bionic for you"},
		{"a user alone", "bionic", filepath.Join(dir, "none"), true, nil, ""},
		{"sudo, theirs has it", "bionic", dir, false, ann, "cache of user ann"},
		{"sudo, theirs has it not", "xenial", dir, false, ann, ""},
		{"root without sudo", "bionic", dir, false, nil, ""},
		{"root's own sudo", "bionic", dir, false, &user.User{Uid: "0", HomeDir: ann.HomeDir}, ""},
	} {
		got := otherCache(c.name, c.roots, c.ordinary, c.behind)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.summary, got, c.want)
		}
	}
}
