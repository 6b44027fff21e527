package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestKilledBuilds ends builds by SIGKILL, SIGINT and SIGQUIT at random moments, so in every stage, and looks for
// anything left: processes, mounts, temporary folders, half roots. The last build of each signal must
// give the digest of an undisturbed one.
func TestKilledBuilds(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	rounds := 12
	if v := os.Getenv("ROOTCTL_SOAK_KILLS"); v != "" {
		rounds, _ = strconv.Atoi(v)
	}
	f := newFixture(t)
	start := time.Now()
	want := f.build(t, filepath.Join(t.TempDir(), "calm"))
	took := time.Since(start)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			for n := range rounds {
				if n%4 == 0 {
					dir = filepath.Join(t.TempDir(), fmt.Sprint("cache", n)) // downloads, too, begin anew
				}
				// Spread over the build's length, with a jitter, so that no stage is left out.
				delay := time.Duration(n+1) * took / time.Duration(rounds+1)
				delay += time.Duration(rand.Int64N(int64(took) / int64(rounds)))
				send := sig
				if sig == syscall.SIGINT && n%3 == 2 {
					send = syscall.SIGQUIT // Ctrl-\ on a terminal is meant as an interrupt, not as a question to Go
				}
				f.killOne(t, dir, send, delay)
				check := f.checkLeft
				if sig == syscall.SIGKILL {
					check = f.checkKilled
				}
				check(t, dir, fmt.Sprintf("%v after %v", sig, delay))
			}
			if got := f.build(t, dir); got != want {
				t.Errorf("digest after kills %s, undisturbed %s", got, want)
			}
		})
	}
}

// fixture is rootctl, as this test binary, and an archive for it.
type fixture struct {
	self   string
	args   []string
	server *testarchive.Server
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	return fixtureOf(t, testarchive.HostArchive(t, "bionic"))
}

func fixtureOf(t *testing.T, archive *testarchive.Archive) *fixture {
	t.Helper()
	keyring := filepath.Join(t.TempDir(), "fixture.gpg")
	if err := os.WriteFile(keyring, archive.Keyring(), 0o644); err != nil {
		t.Fatal(err)
	}
	server := archive.Serve(t)
	return &fixture{self: ownCopy(t), server: server, args: []string{"build", "--mirror", server.URL, "--only-mirror", "--keyring", keyring, "--tag", "fixture", "bionic"}}
}

// ownCopy is this binary under the name by which TestMain knows that it is to be rootctl, and beside it, if there is one,
// the program that it is to execute then: processes are known by files of their test's own.
func ownCopy(t *testing.T) string {
	t.Helper()
	self := filepath.Join(t.TempDir(), "rootctl")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	linkOrCopy(t, exe, self)
	if v := os.Getenv(programEnv); v != "" {
		linkOrCopy(t, v, self+ownProgram)
	}
	return self
}

const ownProgram = ".program"

func linkOrCopy(t *testing.T, from, to string) {
	t.Helper()
	if os.Link(from, to) == nil {
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) command(dir string, args ...string) *exec.Cmd {
	c := exec.Command(f.self, args...)
	c.Env = append(os.Environ(), "ROOTCTL_CACHE="+dir)
	if _, err := os.Stat(f.self + ownProgram); err == nil {
		c.Env = append(c.Env, programEnv+"="+f.self+ownProgram)
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

// outcome runs c to its end, which may be a failure.
func outcome(t *testing.T, c *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// build runs an undisturbed build and returns the root's digest.
func (f *fixture) build(t *testing.T, dir string) string {
	t.Helper()
	out, err := f.command(dir, f.args...).CombinedOutput()
	if err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "roots"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			return e.Name()
		}
	}
	t.Fatalf("build left no root\n%s", out)
	return ""
}

func (f *fixture) killOne(t *testing.T, dir string, sig syscall.Signal, delay time.Duration) {
	t.Helper()
	c := f.command(dir, f.args...)
	var out strings.Builder
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(delay)
	_ = c.Process.Signal(sig) // it may have ended by itself, which is as good
	err := c.Wait()
	if strings.Contains(out.String(), "panic") || strings.Contains(out.String(), "goroutine ") {
		t.Errorf("%v after %v: %v\n%s", sig, delay, err, out.String())
	}
	status := c.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() && status.Signal() == sig && delay < 100*time.Millisecond {
		return // it came before main
	}
	if sig != syscall.SIGKILL && err != nil && c.ProcessState.ExitCode() != codeInterrupted {
		t.Errorf("%v after %v: exit code %d, want %d\n%s", sig, delay, c.ProcessState.ExitCode(), codeInterrupted, out.String())
	}
}

// checkLeft reports all that is left of a build.
func (f *fixture) checkLeft(t *testing.T, dir, when string) {
	t.Helper()
	if left := f.left(t, dir); len(left) > 0 {
		t.Errorf("%s: left behind: %q", when, left)
	}
}

// checkKilled does so after kill -9. One that came after the claim of a temporary folder and before the keeper was there
// leaves the claim, with nothing in it, to the next sweep; one within the writing of a record leaves the unfinished file.
func (f *fixture) checkKilled(t *testing.T, dir, when string) {
	t.Helper()
	if left := f.left(t, dir); len(left) > 0 && onlyBareClaims(dir, left) {
		sweep(t, dir)
	}
	f.checkLeft(t, dir, when)
}

// left gives the keeper a moment, then lists what there still is.
func (f *fixture) left(t *testing.T, dir string) (left []string) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left = append(f.processes(t, dir), leftFiles(t, dir)...)
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

func sweep(t *testing.T, dir string) {
	t.Helper()
	s, err := cache.Open(dir, cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(); err != nil {
		t.Error(err)
	}
}

// onlyBareClaims reports whether all that is left are locks of temporary folders, folders that are empty, and records that
// were not yet renamed to their place.
func onlyBareClaims(dir string, left []string) bool {
	for _, name := range left {
		if !strings.HasPrefix(name, "tmp/") {
			return false
		}
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return false
		}
		entries, err := os.ReadDir(filepath.Join(dir, name))
		bare := err == nil && len(entries) == 0 || st.Mode().IsRegular() && st.Size() == 0 && strings.HasSuffix(name, ".lock") ||
			st.Mode().IsRegular() && strings.HasSuffix(name, ".new")
		if !bare {
			return false
		}
	}
	return true
}

// processes lists those that run our program, have their root below dir, or hold a file of it open.
func (f *fixture) processes(t *testing.T, dir string) []string {
	t.Helper()
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range pids {
		if p == "/proc/"+strconv.Itoa(os.Getpid()) {
			continue
		}
		for _, link := range []string{"exe", "root", "cwd"} {
			to, err := os.Readlink(p + "/" + link)
			if err == nil && (strings.HasPrefix(to, f.self) || strings.HasPrefix(to, dir)) {
				out = append(out, p+"/"+link+" is "+to)
			}
		}
		if mounts, err := os.ReadFile(p + "/mountinfo"); err == nil && strings.Contains(string(mounts), dir) {
			out = append(out, p+" has a mount of "+dir)
		}
	}
	return out
}

// leftFiles lists what stands in tmp/ and trash/, and roots without a manifest.
func leftFiles(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, sub := range []string{"tmp", "trash"} {
		entries, _ := os.ReadDir(filepath.Join(dir, sub)) // absent when the build was killed before it made the cache
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".part") || strings.HasSuffix(e.Name(), ".part.lock") {
				continue // a download to be resumed
			}
			out = append(out, sub+"/"+e.Name())
		}
	}
	entries, _ := os.ReadDir(filepath.Join(dir, "roots"))
	for _, e := range entries {
		if e.IsDir() {
			if there, _ := filepath.Glob(filepath.Join(dir, "roots", strings.TrimSuffix(e.Name(), shiftedSuffix)+".mtree*")); len(there) == 0 {
				out = append(out, "half root "+e.Name())
			}
		}
	}
	return out
}
