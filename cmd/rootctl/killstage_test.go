package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// stage is a moment of a build at which it is stopped, and how it is held there.
type stage struct {
	name    string
	fault   testarchive.Fault // holds it up
	include string            // a package that does
	inTree  string            // a file of the half-made root that says the moment has come
	line    string            // a line of output that does
}

// held is a package whose script says that it has begun, and goes on for ten minutes with a child.
func held(script string) testarchive.Package {
	return testarchive.Package{Name: "held-" + script, Scripts: map[string]string{script: "#!/bin/sh\ntouch /var/in-" + script + "\nsleep 600 &\nsleep 600\n"}}
}

func stages() []stage {
	stall := func(path string) testarchive.Fault {
		return testarchive.Fault{Path: path, StallAfter: 10, Stall: -1}
	}
	return []stage{
		{name: "release", fault: stall("InRelease")},
		{name: "index", fault: stall("dists/bionic/main/*/by-hash/SHA256/*")},
		{name: "download", fault: stall("base-files_*.deb")},
		{name: "unpack", fault: stall("dash_*.deb"), inTree: "usr/bin/dpkg"},
		{name: "preinst", include: "held-preinst", inTree: "var/in-preinst"},
		{name: "configure", include: "held-postinst", inTree: "var/in-postinst"},
		{name: "hash", include: "held-hash", line: "hashing and sealing"},
	}
}

// TestKilledInEachStage stops builds by SIGKILL and SIGINT in each stage, where TestKilledBuilds does it at
// random moments: nothing may be left, and the same cache then gives the root of an undisturbed build.
func TestKilledInEachStage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	archive := testarchive.HostArchive(t, "bionic").Add(held("preinst"), held("postinst"), testarchive.Package{Name: "held-hash",
		Compression: "zst", Data: zeroBomb(t, "./usr/share/zeros", 128<<20)}) // takes a while
	server := archive.Serve(t)
	f := &fixture{self: ownCopy(t), server: server, args: []string{"build", "--mirror", server.URL, "--only-mirror", "--keyring", keyFile(t, archive.Key), "--tag", "fixture", "bionic"}}
	want := f.build(t, filepath.Join(t.TempDir(), "calm"))
	for _, s := range stages() {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
			t.Run(s.name+" "+sig.String(), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "cache")
				for tries := 1; !f.stopIn(t, dir, s, sig); tries++ {
					if tries == 4 || s.line == "" { // only hashing ends by itself, if we are late
						t.Fatal("the build went through")
					}
					dir = filepath.Join(t.TempDir(), "cache")
				}
				f.checkLeft(t, dir, s.name)
				if got := f.build(t, dir); got != want {
					t.Errorf("digest after it %s, undisturbed %s", got, want)
				}
			})
		}
	}
}

// stopIn begins a build, waits for the stage and sends the signal. It is false if the build was faster.
func (f *fixture) stopIn(t *testing.T, dir string, s stage, sig syscall.Signal) bool {
	t.Helper()
	defer f.server.Reset()
	reached := make(chan struct{}, 100)
	if s.fault.Path != "" {
		if s.inTree == "" {
			s.fault.Before = func() { reached <- struct{}{} }
		}
		f.server.Fault(s.fault)
	}
	args := append([]string(nil), f.args...)
	if s.include != "" {
		args = append([]string{"build", "--include", s.include}, args[1:]...)
	}
	c := f.command(dir, args...)
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			out.WriteString(lines.Text() + "\n")
			if s.line != "" && strings.Contains(lines.Text(), s.line) {
				reached <- struct{}{}
			}
		}
	}()
	if s.inTree != "" {
		go waitFor(filepath.Join(dir, "tmp/*/root", s.inTree), reached)
	}
	select {
	case <-reached:
	case <-time.After(30 * time.Second):
		t.Errorf("the stage was not reached")
	}
	_ = c.Process.Signal(sig) // it may have ended
	<-read
	err = c.Wait()
	if sig == syscall.SIGINT && err != nil && c.ProcessState.ExitCode() != codeInterrupted {
		t.Errorf("exit code %d, want %d\n%s", c.ProcessState.ExitCode(), codeInterrupted, out.String())
	}
	if sig == syscall.SIGINT && err != nil {
		kept := s.name != "release" && s.name != "index"
		if !strings.Contains(out.String(), "interrupted; nothing was left behind") || strings.Contains(out.String(), "behind but what was downloaded") != kept {
			t.Errorf("it does not say rightly whether downloads are kept:\n%s", out.String())
		}
	}
	if strings.Contains(out.String(), "panic") || strings.Contains(out.String(), "goroutine ") {
		t.Errorf("panicked:\n%s", out.String())
	}
	return err != nil
}

// waitFor tells when a file is there; it gives up after half a minute.
func waitFor(pattern string, reached chan<- struct{}) {
	for range 3000 {
		if names, _ := filepath.Glob(pattern); len(names) > 0 {
			reached <- struct{}{}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
