package main

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFailingSystemCalls lets one of a verb's system calls on files fail, or kills the process there: it says what and
// why, and afterwards the cache opens and holds nothing, once garbage is collected, that its layout does not name.
func TestFailingSystemCalls(t *testing.T) {
	f := newFaulty(t)
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing: make tools-for-tests")
	}
	f.must(t, f.build("one")...)
	tar := filepath.Join(t.TempDir(), "one.tar")
	f.must(t, "export", "-q", "one", "-o", tar)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	faults := []string{"error=ENOSPC", "error=EIO", "error=EACCES", "error=EMFILE", "error=EROFS", "error=EDQUOT", "signal=KILL"}
	// Not write, with which Go's runtime wakes its threads and the program says what is wrong: full disks have tests.
	calls := []string{"openat", "pwrite64", "copy_file_range", "fsync", "renameat", "flock", "mkdirat", "unlinkat", "fchmodat", "newfstatat", "getdents64", "fchownat", "linkat"}
	failed, killed := 0, 0
	for n := range short("ROOTCTL_SOAK_CALLS", 25) {
		args := [][]string{{"tag", "one", "two"}, {"untag", "two"}, {"cache", "gc"}, {"cache", "gc", "--max-size=1kB"}, {"import", tar, "--tag", "three"},
			{"cache", "verify"}, {"export", "-q", "one", "-o", filepath.Join(t.TempDir(), "x.tar.zst")}, {"ls"}, {"run", "one", "true"}, f.build("one"), f.build("four", "--include", "hello")}[r.IntN(11)]
		inject := "inject=" + calls[r.IntN(len(calls))] + ":" + faults[r.IntN(len(faults))] + ":when=" + strconv.Itoa(1+r.IntN(1+r.IntN(30)))
		c := f.command(f.dir, args...)
		c.Path, c.Err = "/usr/bin/strace", nil
		c.Args = append([]string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", inject, f.self}, args...)
		var errs strings.Builder
		c.Stderr = &errs
		limit := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill() })
		start := time.Now()
		_ = c.Run()
		limit.Stop()
		code, text := c.ProcessState.ExitCode(), errs.String()
		switch {
		case time.Since(start) > 29*time.Second:
			t.Errorf("%v with %s: hangs\n%s", args, inject, text)
		case strings.Contains(text, "error while loading shared libraries"): // the fault came before the program
		case code == -1 || code == 128+9 || strings.Contains(inject, "KILL"):
			killed++
		case strings.Contains(text, "things in the cache were damaged"): // it cannot be read, or must not be
			failed++
		case code != 0 && !soakMissing(text) && (!clear.MatchString(text) || strings.Contains(text, "goroutine ")):
			t.Errorf("%v with %s: exit code %d\n%s", args, inject, code, text)
		case code != 0:
			failed++
		}
		if n%20 == 0 || t.Failed() {
			f.must(t, "ls")
		}
	}
	t.Logf("seed %d: %d failed, %d killed", seed, failed, killed)
	f.rootctl(t, f.build("one")...)
	f.must(t, "cache", "verify", "--roots")
	for range 2 {
		f.must(t, "cache", "gc")
	}
	for _, name := range strange(t, f.dir) {
		t.Errorf("litter: %s", name)
	}
}
