package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary run one Spec and exit, for tests that kill the host process or need its exit code.
const helperEnv = "RUNNER_TEST_SPEC"

func TestMain(m *testing.M) {
	if Main(os.Args) {
		return
	}
	if os.Getenv(sealEnv) != "" {
		os.Exit(sealAttack())
	}
	if os.Getenv(traceEnv) != "" {
		os.Exit(traceAttack())
	}
	if s := os.Getenv(helperEnv); s != "" {
		os.Exit(helper(s))
	}
	if dir := os.Getenv(doctorEnv); dir != "" {
		os.Exit(doctorHelper(dir))
	}
	if what := os.Getenv(repairEnv); what != "" {
		os.Exit(repairHelper(what))
	}
	code := m.Run()
	if shared.dir != "" {
		os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// job is what the helper process does.
type job struct {
	Spec   Spec
	IDs    string // directory of ClaimIDs
	Remove []string
	Locks  []string
	Guard  bool    // no container, only a keeper, until killed
	Join   *Target // no container, but a command in one that runs
	Outer  bool    // this process plays a host with a registration; see outerHelper
	Seal   bool    // from a read-only mount
	Weak   string  // the guard of weakenings to leave out
}

func helper(s string) int {
	var j job
	if err := json.Unmarshal([]byte(s), &j); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	if j.Seal {
		if err := SealSelf(os.Args, os.Environ()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 125
		}
	}
	if j.Outer {
		return outerHelper(j)
	}
	keep := Keep{Remove: j.Remove}
	for _, l := range j.Locks {
		f, err := os.OpenFile(l, os.O_RDWR|os.O_CREATE, 0o600)
		if err == nil {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 125
		}
		keep.Locks = append(keep.Locks, f)
	}
	if j.Guard {
		if _, err := StartGuard(keep); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 125
		}
		fmt.Println("guarded")
		time.Sleep(time.Minute)
	}
	if j.Join != nil {
		st, err := Exec(context.Background(), *j.Join, Command{Argv: j.Spec.Argv, Env: j.Spec.Env, TTY: j.Spec.TTY},
			Options{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return st.Code
	}
	ids, lock, err := ClaimIDs(j.IDs)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 125
	}
	keep.Locks = append(keep.Locks, lock)
	j.Spec.IDs = ids
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1)
	st, err := Run(context.Background(), j.Spec, Options{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Keep: &keep, Signals: signals, weak: weakenings()[j.Weak],
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if st.Outside {
		fmt.Fprintf(os.Stderr, "killed from outside (signal %d)\n", st.Signal)
	}
	return st.Code
}

// startHelper starts the helper process.
func startHelper(t *testing.T, j job, stdin io.Reader, stdout, stderr io.Writer) *exec.Cmd {
	t.Helper()
	j.IDs = t.TempDir()
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+string(b))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	limit := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
	t.Cleanup(func() { limit.Stop(); cmd.Process.Kill() })
	return cmd
}

var shared struct {
	once sync.Once
	dir  string
	root string
	err  error
}

// programs are what the tests run inside: the host's own, with their libraries.
var programs = []string{"sh", "cat", "chmod", "chown", "cp", "dd", "echo", "env", "false", "head", "id", "kill", "ln",
	"ls", "mkdir", "mv", "pwd", "readlink", "rm", "setpriv", "sha256sum", "sleep", "stat", "stty", "sync", "touch", "true",
	"uname", "wc", "tail", "timeout", "tr", "mknod", "rmdir", "mount", "umount", "chroot", "unshare", "hostname", "seq", "bash", "make"}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made with namespaces and mounts")
	}
}

// sharedRoot is a small root that no test may change.
func sharedRoot(t testing.TB) string {
	t.Helper()
	needRoot(t)
	shared.once.Do(func() {
		shared.dir, shared.err = os.MkdirTemp("", "runner-root-")
		if shared.err == nil {
			shared.root = filepath.Join(shared.dir, "root")
			shared.err = makeRoot(shared.root)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.root
}

func makeRoot(root string) error {
	for _, d := range []string{"bin", "etc", "proc", "sys", "dev", "tmp", "run", "root", "home", "var/tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), 0o1777); err != nil {
		return err
	}
	for name, s := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n",
		"etc/group":  "root:x:0:\nuser:x:1000:\n",
		"etc/hosts":  "192.0.2.7 sealed\n", "bin/noexec": "#!/bin/sh\n", "bin/badinterp": "#!/nowhere\n", "bin/noformat": "hello\n",
	} {
		mode := os.FileMode(0o755)
		if name == "bin/noexec" {
			mode = 0o644
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(s), mode); err != nil {
			return err
		}
	}
	files := map[string]string{}
	for _, p := range programs {
		src, err := exec.LookPath(p)
		if err != nil {
			continue // the tests that use it say so
		}
		files["/bin/"+p] = src
		out, _ := exec.Command("ldd", src).Output() // fails for static programs
		for _, f := range strings.Fields(string(out)) {
			if strings.HasPrefix(f, "/") {
				files[f] = f
			}
		}
	}
	for dst, src := range files {
		b, err := os.ReadFile(src)
		if err != nil {
			return err
		}
		to := filepath.Join(root, dst)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// copyRoot is a root of a test's own.
func copyRoot(t testing.TB) string {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command("cp", "-a", sharedRoot(t), dst).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return dst
}

// result is what a run left behind.
type result struct {
	out, err string
	status   Status
	notes    []string
	failure  error
}

// said are the notes of a run, but for the one that each run of a kernel gets which maps no ids below an overlay.
func (r result) said(t *testing.T) []string {
	t.Helper()
	if !before(t, 5, 19) {
		return r.notes
	}
	return slices.DeleteFunc(slices.Clone(r.notes), func(n string) bool { return strings.HasPrefix(n, "the whole root is copied for this run") })
}

// before says whether the kernel is older than a version.
func before(t *testing.T, major, minor int) bool {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		t.Fatal(err)
	}
	return a < major || a == major && b < minor
}

// shell is a Spec that runs a script in a copy of the shared root.
func shell(t testing.TB, script string) Spec {
	t.Helper()
	return Spec{Lower: []string{sharedRoot(t)}, Argv: []string{"sh", "-c", script},
		Env: []string{"PATH=/bin:/usr/bin", "HOME=/root"}}
}

// try runs a Spec in this process, with ids if it wants some.
func try(t testing.TB, s Spec, o Options) result {
	t.Helper()
	needRoot(t)
	if s.ownUsers() && s.IDs.Size == 0 {
		ids, f, err := ClaimIDs(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		s.IDs = ids
	}
	var r result
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	errR, errW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if o.Stdout == nil {
		o.Stdout = outW
	}
	o.Stderr = errW
	o.Note = func(n string) { r.notes = append(r.notes, n) }
	var wg sync.WaitGroup
	var out, errs bytes.Buffer
	wg.Add(2)
	go func() { defer wg.Done(); io.Copy(&out, outR) }()
	go func() { defer wg.Done(); io.Copy(&errs, errR) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r.status, r.failure = Run(ctx, s, o)
	outW.Close()
	errW.Close()
	wg.Wait()
	outR.Close()
	errR.Close()
	r.out, r.err = out.String(), errs.String()
	return r
}

// must is try for a command that has to succeed.
func must(t testing.TB, s Spec) string {
	t.Helper()
	r := try(t, s, Options{})
	if r.failure != nil || r.status.Code != 0 {
		t.Fatalf("run: %v, status %+v\nstdout: %s\nstderr: %s", r.failure, r.status, r.out, r.err)
	}
	return r.out
}

// eventually waits for something that takes milliseconds, but may take longer on a busy machine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("not within %v: %s", patience, what)
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// processes lists the host's processes whose command line holds a mark.
func processes(t *testing.T, mark string) []int {
	t.Helper()
	var pids []int
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, n := range names {
		b, err := os.ReadFile(n)
		var pid int
		if err == nil && bytes.Contains(b, []byte(mark)) {
			if _, err := fmt.Sscanf(n, "/proc/%d/", &pid); err == nil && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if e, ok := err.(*exec.ExitError); ok {
		if ws, ok := e.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return e.ExitCode()
	}
	return -1
}
