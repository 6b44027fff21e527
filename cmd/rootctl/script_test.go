package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/internal/nat"
	"github.com/rootctl/rootctl/internal/runner"
)

// TestMain lets the test binary be rootctl, and the keeper that rootctl forks off.
func TestMain(m *testing.M) {
	if runner.Main(os.Args) || sweepNet(os.Args) {
		return
	}
	if code, is := nat.WardenMain(os.Args); is {
		os.Exit(code)
	}
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], probeName) {
		probeMain(os.Args[1:])
		return
	}
	if len(os.Args) > 2 && strings.HasPrefix(os.Args[1], rungName) {
		os.Exit(rungMain(os.Args[1:]))
	}
	if os.Getenv(byPathEnv) != "" || os.Getenv(unsealedEnv) != "" || os.Getenv(shiftedEnv) != "" {
		mainTuned()
	}
	if in, _ := insideOf(os.Args); in != nil { // and what it is again in a user namespace
		main()
		return
	}
	testscript.Main(m, map[string]func(){"rootctl": program, shellName: program})
}

// programEnv names the file that the tests are to run as rootctl, which has the quick program too; without it that is the
// test binary.
const programEnv = "ROOTCTL_PROGRAM"

func program() {
	file := os.Getenv(programEnv)
	if file == "" {
		main()
		return
	}
	err := unix.Exec(file, append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "execute $%s: %v\n", programEnv, err)
	os.Exit(99)
}

// TestScripts runs one script a behaviour of the command line against a signed archive on loopback whose
// packages hold this host's own dpkg, shell and libraries.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	archive := testarchive.HostArchive(t, "bionic")
	server := archive.Serve(t)
	guarded := archive.Serve(t)
	guarded.User, guarded.Password = "builder", "s3cret-w0rd"
	unsigned := testarchive.HostArchive(t, "bionic")
	unsigned.Signers = []*testarchive.Key{}
	unsignedServer := unsigned.Serve(t)
	more := mirrorEnv(t, archive)
	maps.Copy(more, suiteEnv(t, archive))
	maps.Copy(more, lockEnv(t, archive))
	maps.Copy(more, toolsEnv(t, archive.Arches[0]))
	more["LESSON"] = "--mirror=" + lessonMirror(t, archive)
	keyring := filepath.Join(t.TempDir(), "fixture.gpg")
	if err := os.WriteFile(keyring, archive.Keyring(), 0o644); err != nil {
		t.Fatal(err)
	}
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv(programEnv, os.Getenv(programEnv))
			e.Setenv("MIRROR", server.URL)
			e.Setenv("KEYRING", keyring)
			e.Setenv("REPO", repo)
			e.Setenv("GUARDED", strings.Replace(guarded.URL, "http://", "http://builder:s3cret-w0rd@", 1))
			e.Setenv("WRONG", strings.Replace(guarded.URL, "http://", "http://builder:wr0ng-w0rd@", 1))
			e.Setenv("PLAIN", guarded.URL)
			e.Setenv("UNSIGNED", unsignedServer.URL)
			for name, value := range more {
				e.Setenv(name, value)
			}
			e.Setenv("ROOTCTL_CACHE", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("HOME", filepath.Join(e.WorkDir, "home"))
			e.Setenv("FROM1", "--mirror="+server.URL)
			e.Setenv("FROM2", "--only-mirror")
			e.Setenv("FROM3", "--keyring="+keyring)
			e.Defer(func() { endContainers(t, e) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      exits,
			"lesson":     lesson,
			"samedigest": sameDigest,
		},
	})
}

// endContainers ends those that a script has left, which one that failed does.
func endContainers(t *testing.T, e *testscript.Env) {
	states, _ := filepath.Glob(filepath.Join(e.WorkDir, "*/containers"))
	for _, dir := range states {
		c := exec.Command("sh", "-c", "rootctl rm -f --all")
		c.Dir, c.Env = e.WorkDir, append(slices.Clone(e.Vars), "ROOTCTL_STATE="+dir)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", dir, err, out)
		}
	}
}

// sameDigest compares the digests of two reports of build, show or import: samedigest FILE FILE
func sameDigest(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: samedigest FILE FILE")
	}
	var digests [2]string
	for i, name := range args {
		var report struct {
			Digest string `json:"digest"`
		}
		if err := json.Unmarshal([]byte(ts.ReadFile(name)), &report); err != nil {
			ts.Fatalf("%s: %v", name, err)
		}
		digests[i] = report.Digest
	}
	if digests[0] != digests[1] || digests[0] == "" {
		ts.Fatalf("digests %q and %q differ", digests[0], digests[1])
	}
}

// exits runs a command that must end with the given code: exits CODE COMMAND ARG...
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}
