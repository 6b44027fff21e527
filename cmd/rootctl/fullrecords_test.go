package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFullRecords: where one container's log has filled the folder of records, others can be stopped, a run in the
// foreground goes without a record, and what needs one says which folder is full.
func TestFullRecords(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts, builds and containers")
	}
	f, cache := newFixture(t), filepath.Join(t.TempDir(), "cache")
	f.build(t, cache)
	records := t.TempDir()
	if err := unix.Mount("tmpfs", records, "tmpfs", 0, "size=128k,mode=0700"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(records, unix.MNT_DETACH) //nolint:errcheck // of the test
	t.Setenv("ROOTCTL_STATE", records)
	run := func(want int, says string, args ...string) {
		t.Helper()
		out, errs, code := outcome(t, f.command(cache, args...))
		if code != want || !strings.Contains(out+errs, says) {
			t.Errorf("rootctl %q: exit code %d, not %d with %q\n%s%s", args, code, want, says, out, errs)
		}
	}
	defer run(0, "", "rm", "-f", "--all")
	run(0, "", "run", "-d", "--name", "web", "fixture", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done")
	if err := os.WriteFile(filepath.Join(records, "fill"), make([]byte, 1<<20), 0o600); err == nil {
		t.Fatal("the folder is not full")
	}
	run(0, "ran", "run", "fixture", "echo", "ran")
	run(125, "ROOTCTL_STATE", "run", "--name", "other", "fixture", "true")
	run(125, "ROOTCTL_STATE", "run", "-d", "fixture", "true")
	run(0, "hi", "exec", "web", "echo", "hi")
	run(codeFailed, "rootctl stop", "stop", "-t", "3600", "web")
	run(0, "", "stop", "web")
	run(0, "", "ps")
}
