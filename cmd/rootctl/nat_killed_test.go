package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func (w *natWorld) testKilledNat(t *testing.T) {
	before := w.natState(t)
	c := w.listening(t, "--publish", "18080:8080")
	w.checkPublished(t)
	c.Process.Kill()
	c.Wait()
	within := time.Now().Add(5 * time.Second)
	for w.natState(t) != before && time.Now().Before(within) {
		time.Sleep(20 * time.Millisecond)
	}
}

// childNamed is the one child of a process with a name, as ps shows it.
func childNamed(t *testing.T, pid int, name string) int {
	t.Helper()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		b, _ := os.ReadFile(l) // of a thread that has ended: none
		for _, f := range strings.Fields(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			if comm, _ := os.ReadFile("/proc/" + f + "/comm"); string(comm) == name+"\n" {
				return child
			}
		}
	}
	t.Fatalf("process %d has no child %s", pid, name)
	return 0
}

// killAll kills a container's rootctl and its keeper, and waits for their ends; the container ends with its rootctl.
func (w *natWorld) killAll(t *testing.T) {
	t.Helper()
	c := w.listening(t, "--publish", "18080:8080")
	keeper := childNamed(t, c.Process.Pid, "rootctl-keeper")
	fd, err := unix.PidfdOpen(keeper, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Kill(keeper, unix.SIGKILL), c.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	for err = unix.EINTR; err == unix.EINTR; {
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// testKilledWithKeeper: nobody is left to tidy up, so the next run does.
func (w *natWorld) testKilledWithKeeper(t *testing.T) {
	w.killAll(t)
	if out, errs, code := w.run(t, w.probed([]string{"--net=nat", "--publish", "18080:8080"}, "links")); code != 0 {
		t.Errorf("the next run: code %d: %s%s", code, out, errs)
	}
}

// testSwept: and so do ps and rm.
func (w *natWorld) testSwept(t *testing.T) {
	before := w.natState(t)
	for _, verb := range [][]string{{"ps"}, {"rm", "--stopped"}} {
		w.killAll(t)
		if w.natState(t) == before {
			t.Error("nothing was left to sweep")
		}
		if out, errs, code := w.run(t, w.command(w.cache, verb...)); code != 0 || errs != "" {
			t.Errorf("%s: code %d: %s%s", verb, code, out, errs)
		}
		if after := w.natState(t); after != before {
			t.Errorf("%s left:\n%s\nbefore:\n%s", verb, after, before)
		}
	}
	// One that lives is left alone.
	c := w.listening(t, "--publish", "18080:8080")
	with := w.natState(t)
	if _, errs, code := w.run(t, w.command(w.cache, "ps")); code != 0 || errs != "" {
		t.Errorf("ps: code %d: %s", code, errs)
	}
	if after := w.natState(t); after != with {
		t.Errorf("ps changed the network of a container:\n%s\nbefore:\n%s", after, with)
	}
	w.checkPublished(t)
	end(t, c)
}
