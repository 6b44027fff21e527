package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// oneFile is the file with both programs: that under test, or one made for it.
func oneFile(t *testing.T) string {
	if file := os.Getenv(programEnv); file != "" {
		return file
	}
	dir := t.TempDir()
	whole, quick, one := filepath.Join(dir, "whole"), filepath.Join(dir, "quick"), filepath.Join(dir, "rootctl")
	for _, args := range [][]string{
		{"build", "-trimpath", "-o", whole, "."},
		{"build", "-trimpath", "-ldflags=-T=0x10001000", "-o", quick, "../../internal/quick"},
		{"run", "../../internal/quick/join", whole, quick, one},
	} {
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %q: %v\n%s", args, err, out)
		}
	}
	return one
}

// The quick program does what the whole one does: exit code, output, and the record that the container has of itself.
func TestBothPrograms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	archive := testarchive.HostArchive(t, "bionic")
	server := archive.Serve(t)
	for summary, who := range map[string]*syscall.Credential{"root": nil, "user": bothUser(t)} {
		t.Run(summary, func(t *testing.T) {
			if who == nil && summary == "user" {
				t.Skipf("needs user %s with ranges in /etc/subuid and /etc/subgid: make tools-for-tests", testUser)
			}
			compareBoth(t, server.URL, archive.Keyring(), who)
		})
	}
}

// bothUser is the ordinary user, nil if there is none.
func bothUser(t *testing.T) *syscall.Credential {
	u, err := user.Lookup(testUser)
	if err != nil {
		return nil
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, e := strconv.ParseUint(u.Gid, 10, 32)
	if err = errors.Join(err, e); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// compareBoth compares them for root, or for another user.
func compareBoth(t *testing.T, mirror string, key []byte, who *syscall.Credential) {
	dir, err := os.MkdirTemp("", "rootctl-both-") // a test's own folders are not for other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	one, keyring := filepath.Join(dir, "rootctl"), filepath.Join(dir, "keyring.gpg")
	b, err := os.ReadFile(oneFile(t))
	err = errors.Join(err, os.WriteFile(one, b, 0o755), os.WriteFile(keyring, key, 0o644), os.Chmod(dir, 0o755))
	if who != nil {
		err = errors.Join(err, os.Chown(dir, int(who.Uid), int(who.Gid)))
	}
	if err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "HOME="+dir, "ROOTCTL_CACHE="+filepath.Join(dir, "cache"), "ROOTCTL_STATE="+filepath.Join(dir, "state", "containers"))
	command := func(program string, args ...string) *exec.Cmd {
		return &exec.Cmd{Path: one, Args: append([]string{program}, args...), Env: env, Dir: dir, SysProcAttr: &syscall.SysProcAttr{Credential: who}}
	}
	do := func(program string, args ...string) (out, errs string, code int) {
		var o, e bytes.Buffer
		cmd := command(program, args...)
		cmd.Stdout, cmd.Stderr = &o, &e
		_ = cmd.Run() // the code tells
		return o.String(), e.String(), cmd.ProcessState.ExitCode()
	}
	if _, errs, code := do("rootctl", "build", "bionic", "--mirror="+mirror, "--only-mirror", "--keyring="+keyring, "--tag", "both"); code != 0 {
		t.Fatal(errs)
	}
	if _, errs, code := do("rootctl", "run", "-d", "--name", "bothbox", "both", "sleep", "600"); code != 0 {
		t.Fatal(errs)
	}
	defer do("rootctl", "rm", "-f", "bothbox")
	// What a run is recorded as is seen from its own command's side: there is one container but that of bothbox.
	state := filepath.Join(dir, "state", "containers")
	mounts := "cat /proc/self/mounts | sort | sed 's,/scratch/[0-9]*,,g'; id; env | sort; ls -lan /etc /dev /run /tmp | sed 's/ [A-Z][a-z][a-z] .*:.. / /'; cat /proc/self/status | grep -E 'Cap|Seccomp|NoNew|Umask|Groups|Sig'; ulimit -n"
	for _, words := range [][]string{
		{"run", "both", "sh", "-c", mounts},
		{"run", "--upper=tmpfs", "both", "sh", "-c", mounts},
		{"run", "--env", "A=b", "--net=none", "both", "sh", "-c", "echo $A $0; exit 7"},
		{"run", "both", "sh", "-c", "echo x >&2; kill -TERM $$; kill -KILL $$; exit 9"},
		{"run", "both", "sh", "-c", "cat </dev/tcp/192.0.2.1/80; exit 3"},
		{"run", "both", "nowhere"},
		{"run", "both", "/etc/passwd"},
		{"run", "both", "--", "sh", "-c", "echo $0", "-x"},
		{"run", "both", "--net=none"},
		{"run", "--no-build", "none", "true"},
		{"run", "both"},
		{"run", "--user", "nobody", "both", "true"},
		{"exec", "bothbox", "sh", "-c", mounts},
		{"exec", "--env=A=b", "bothbox", "sh", "-c", "echo $A; exit 8"},
		{"exec", "bothbox", "sh", "-c", "kill -KILL $$"},
		{"exec", "bothbox", "nowhere"},
		{"exec", "bothbax", "true"},
		{"exec", "bothbox"},
	} {
		wantOut, wantErrs, wantCode := do("rootctl:", words...)
		out, errs, code := do("rootctl", words...)
		if strings.Contains(strings.Join(words, " "), "ulimit") && (wantCode != 0 || len(wantOut) < 500) {
			t.Fatalf("%q: %d\n%s%s", words, wantCode, wantOut, wantErrs)
		}
		if number := regexp.MustCompile(`(uid_map|pid|[0-9]{4,})`); code != wantCode || errs != wantErrs ||
			number.ReplaceAllString(out, "N") != number.ReplaceAllString(wantOut, "N") {
			t.Errorf("%q: code %d, want %d\n-- stderr\n%s-- want\n%s-- stdout\n%s-- want\n%s", words, code, wantCode, errs, wantErrs, out, wantOut)
		}
	}
	if who == nil {
		testShellOfVerbs(t, one, env, do)
	}
	testBothRecords(t, state, func(program string) *exec.Cmd { return command(program, "run", "both", "sh", "-c", "echo up; cat") })
}

// testBothRecords compares what stands in the folder of records while a container runs.
func testBothRecords(t *testing.T, state string, command func(program string) *exec.Cmd) {
	var records [2]string
	for i, program := range []string{"rootctl:", "rootctl"} {
		before, err := filepath.Glob(filepath.Join(state, "*", "state.json"))
		if err != nil {
			t.Fatal(err)
		}
		cmd := command(program)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
			t.Errorf("%s: %q, %v", program, line, err)
		}
		deadline := time.Now().Add(20 * time.Second)
		for records[i] == "" && time.Now().Before(deadline) { // that it runs is written down a moment later
			after, err := filepath.Glob(filepath.Join(state, "*", "state.json"))
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range after {
				b, err := os.ReadFile(f)
				if err == nil && !slices.Contains(before, f) && bytes.Contains(b, []byte(`"started"`)) {
					records[i] = string(b)
				}
			}
		}
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", program, err)
		}
	}
	volatile := regexp.MustCompile(`"(id|created|started|pid|start_time|pidfd_inode|monitor|monitor_start|base)":("[^"]*"|[0-9]+)|scratch/[0-9]+`)
	if a, b := volatile.ReplaceAllString(records[0], "$1"), volatile.ReplaceAllString(records[1], "$1"); a != b || len(a) < 300 {
		t.Errorf("records differ:\n%s\n%s", a, b)
	}
}
