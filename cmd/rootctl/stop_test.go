package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/runner/state"
)

// TestStopGrace: the monitor, which would wait ten seconds, waits as long as stop says.
func TestStopGrace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	f, cache := newFixture(t), filepath.Join(t.TempDir(), "cache")
	records := &state.Dir{Path: filepath.Join(t.TempDir(), "state", "containers")}
	t.Setenv("ROOTCTL_STATE", records.Path)
	f.build(t, cache)
	must := func(args ...string) string {
		t.Helper()
		out, errs, code := outcome(t, f.command(cache, args...))
		if code != 0 {
			t.Fatalf("rootctl %q: exit code %d\n%s%s", args, code, out, errs)
		}
		return out
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not within 15 seconds: %s", what)
			}
		}
	}
	start := func(name string) *state.Container {
		t.Helper()
		must("run", "-d", "--name", name, "fixture", "sh", "-c", "trap 'echo term' TERM; echo ready; while test ! -e /go; do sleep 0.05; done; exit 5")
		until("it is ready", func() bool { return strings.Contains(must("logs", name), "ready") })
		c, err := records.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	defer must("rm", "-f", "--all")

	long := start("long")
	c := f.command(cache, "stop", "-t", "3600", "long")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	until("it is told to stop", func() bool { return strings.Contains(must("logs", "long"), "term") })
	if b, err := os.ReadFile(filepath.Join(records.Path, long.ID, graceFile)); err != nil || string(b) != "3600" {
		t.Errorf("the monitor is told %q, %v", b, err)
	}
	must("exec", "long", "touch", "/go")
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if out := must("wait", "long"); out != "5\n" {
		t.Errorf("ended with %q", out)
	}

	// The same word to the monitor, and only its signal: nobody else sends KILL.
	short := start("short")
	if err := os.WriteFile(filepath.Join(records.Path, short.ID, graceFile), []byte(fmt.Sprint(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := syscall.Kill(short.Monitor, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if out := must("wait", "short"); out != "137\n" || time.Since(began) < time.Second || time.Since(began) > 8*time.Second {
		t.Errorf("after %v: %q", time.Since(began), out)
	}
}
