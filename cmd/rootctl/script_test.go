package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/internal/runner"
)

// TestMain lets the test binary be rootctl, and the keeper that rootctl forks off.
func TestMain(m *testing.M) {
	if runner.Main(os.Args) {
		return
	}
	testscript.Main(m, map[string]func(){"rootctl": main})
}

// TestScripts runs one script a behaviour of the command line against a signed archive on loopback whose
// packages hold this host's own dpkg, shell and libraries.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	archive := testarchive.HostArchive(t, "bionic")
	server := archive.Serve(t)
	keyring := filepath.Join(t.TempDir(), "fixture.gpg")
	if err := os.WriteFile(keyring, archive.Keyring(), 0o644); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("MIRROR", server.URL)
			e.Setenv("KEYRING", keyring)
			e.Setenv("ROOTCTL_CACHE", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("FROM", fmt.Sprintf("--mirror=%s --only-mirror --keyring=%s", server.URL, keyring))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	})
}

// exits runs a command that must end with the given code: exits CODE COMMAND ARG...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if err != nil {
		var exit interface{ ExitCode() int }
		if e, ok := err.(interface{ ExitCode() int }); ok {
			exit = e
		}
		if exit == nil {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
