package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExitCodes(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		argv []string
		code int
		err  string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "exit 125"}, 125, ""},
		{[]string{"nothing-here"}, 127, "nothing-here: not found in the container"},
		{[]string{"/bin/nothing"}, 127, "/bin/nothing: not found in the container"},
		{[]string{"noexec"}, 126, "noexec: permission denied"},
		{[]string{"/bin"}, 126, "/bin: permission denied"},
		{[]string{"badinterp"}, 126, "its interpreter"},
		{[]string{"noformat"}, 126, "not a program for this machine"},
		{[]string{"sh", "-c", "sh -c 'kill -9 $$'; exit $?"}, 137, ""},
	} {
		t.Run(strings.Join(c.argv, " "), func(t *testing.T) {
			s := shell(t, "")
			s.Argv = c.argv
			r := try(t, s, Options{})
			if r.status.Code != c.code {
				t.Errorf("code %d, want %d (%v)", r.status.Code, c.code, r.failure)
			}
			if got := fmt.Sprint(r.failure); c.err != "" && !strings.Contains(got, c.err) {
				t.Errorf("error %q, want %q", got, c.err)
			}
			var ce *CommandError
			if isCommand := errors.As(r.failure, &ce); isCommand != (c.err != "") {
				t.Errorf("error %v", r.failure)
			}
			if ce != nil && ce.Hint() == "" && !strings.Contains(c.err, "machine") {
				t.Error("no hint")
			}
		})
	}
}

func TestFailureBeforeTheCommandIs125(t *testing.T) {
	s := shell(t, "true")
	s.Workdir = "/not/there"
	r := try(t, s, Options{})
	var se *StepError
	if r.status.Code != 125 || !errors.As(r.failure, &se) || se.Op.Verb != VerbWorkdir || !errors.Is(se, unix.ENOENT) || se.Hint() == "" {
		t.Errorf("status %+v, error %v", r.status, r.failure)
	}
	s = shell(t, "true")
	s.Lower = []string{"/not/there"}
	r = try(t, s, Options{})
	if r.status.Code != 125 || !errors.As(r.failure, &se) || se.Op.Verb != VerbOverlay {
		t.Errorf("status %+v, error %v", r.status, r.failure)
	}
}

func TestSurroundings(t *testing.T) {
	s := shell(t, `echo "$(umask) $(id -u) $(id -g) [$(id -G)] $HOME $PATH $(pwd) $(hostname) $$"; env | sort; ls -A /proc/self/fd | wc -l`)
	s.Env = append(s.Env, "MARK=x y")
	s.Hostname = "box"
	got := must(t, s)
	want := "0022 0 0 [0] /root /bin:/usr/bin / box 1\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %q, want %q first", got, want)
	}
	r := try(t, Spec{Lower: []string{sharedRoot(t)}, Argv: []string{"/bin/env"}, Env: []string{"A=1"}}, Options{})
	if r.out != "A=1\n" {
		t.Errorf("environment %q", r.out)
	}
	s = shell(t, "umask; pwd")
	s.Umask, s.Workdir = 0o077, "/var/tmp"
	if got := must(t, s); got != "0077\n/var/tmp\n" {
		t.Errorf("got %q", got)
	}
}

func TestSevenNamespacesDiffer(t *testing.T) {
	names := []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}
	s := shell(t, "for n in "+strings.Join(names, " ")+"; do readlink /proc/self/ns/$n; done")
	in := strings.Fields(must(t, s))
	if len(in) != len(names) {
		t.Fatalf("links %q", in)
	}
	for i, n := range names {
		host, err := os.Readlink("/proc/self/ns/" + n)
		if err != nil {
			t.Fatal(err)
		}
		if host == in[i] {
			t.Errorf("%s is the host's: %s", n, host)
		}
	}
	s.UserNS, s.Net = "host", "host"
	in = strings.Fields(must(t, s))
	for i, n := range names {
		host, _ := os.Readlink("/proc/self/ns/" + n)
		if shared := n == "user" || n == "net"; shared != (host == in[i]) {
			t.Errorf("with host user and net: %s inside %s, host %s", n, in[i], host)
		}
	}
}

func TestOnlyOwnProcessesAndFilesAreSeen(t *testing.T) {
	const n = 20
	root := sharedRoot(t)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s := Spec{Lower: []string{root}, Env: []string{"PATH=/bin"},
				Argv: []string{"sh", "-c", fmt.Sprintf("echo %d > /mark-%d; sleep 0.2; cat /mark-*; echo /proc/[0-9]*", i, i)}}
			if i%2 == 0 {
				s.Work = t.TempDir()
			}
			r := try(t, s, Options{})
			if want := fmt.Sprintf("%d\n/proc/1\n", i); r.out != want && r.out != fmt.Sprintf("%d\n/proc/1 /proc/3\n", i) {
				t.Errorf("run %d: %q, error %v %s", i, r.out, r.failure, r.err)
			}
		}()
	}
	wg.Wait()
}

func TestCachedRootIsUnchanged(t *testing.T) {
	for _, byPath := range []bool{false, true} {
		for _, userns := range []string{"own", "host"} {
			root := copyRoot(t)
			before := treeText(t, root)
			s := shell(t, "echo x > /etc/passwd; chmod 777 /etc/group; chown 5 /bin/cat; mv /home /home2; touch /new; rm -rf /etc /var; ls /")
			s.Lower, s.UserNS, s.Work = []string{root}, userns, t.TempDir()
			r := try(t, s, Options{pathOverlay: byPath})
			if r.failure != nil || r.status.Code != 0 || !strings.Contains(r.out, "home2") || strings.Contains(r.out, "etc") {
				t.Errorf("%+v", r)
			}
			if after := treeText(t, root); after != before {
				t.Errorf("userns %s, by path %v: the lower directory has changed", userns, byPath)
			}
		}
	}
}

// treeText describes a tree: a line for each name, times of change included.
func treeText(t *testing.T, root string) string {
	t.Helper()
	var lines []string
	err := filepath.Walk(root, func(p string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		lines = append(lines, fmt.Sprintf("%s %o %d:%d %d %d.%d %d.%d", p, st.Mode, st.Uid, st.Gid, st.Size,
			st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func TestLayersInOrder(t *testing.T) {
	top := t.TempDir()
	if err := os.MkdirAll(filepath.Join(top, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "etc/group"), []byte("top\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, byPath := range []bool{false, true} {
		s := shell(t, "cat /etc/group; head -n1 /etc/passwd; stat -c '%u %a' /etc /")
		s.Lower = []string{top, s.Lower[0]}
		r := try(t, s, Options{pathOverlay: byPath})
		if want := "top\nroot:x:0:0:root:/root:/bin/sh\n0 755\n0 755\n"; r.out != want {
			t.Errorf("by path %v: %q %s, error %v", byPath, r.out, r.err, r.failure)
		}
	}
}

func TestUpperOnDiskIsUsedAndRemoved(t *testing.T) {
	dir := t.TempDir()
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	s := shell(t, "echo hello > /made; chown 7:8 /made")
	s.Work = work
	must(t, s)
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(work, "u/made"), &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid < firstID || st.Uid%blockID != 7 || st.Gid%blockID != 8 {
		t.Errorf("made by %d:%d", st.Uid, st.Gid)
	}
	os.RemoveAll(work)
	os.Mkdir(work, 0o700)
	r := try(t, s, Options{Keep: &Keep{Remove: []string{work, filepath.Join(dir, "never-there")}}})
	if r.failure != nil || exists(work) {
		t.Errorf("error %v, still there: %v", r.failure, exists(work))
	}
}

func TestInPlace(t *testing.T) {
	for _, userns := range []string{"own", "host"} {
		root := copyRoot(t)
		for _, d := range []string{"proc", "sys", "dev", "tmp", "run"} {
			if err := os.Remove(filepath.Join(root, d)); err != nil {
				t.Fatal(err)
			}
		}
		s := shell(t, "echo made > /made; test -c /dev/null && test -e /proc/self && test -d /sys/class && test -c /dev/.devfsd && cat /etc/hosts; ls -A /")
		s.Lower, s.Dir, s.UserNS, s.DevNodes = nil, root, userns, []string{".devfsd"}
		got := must(t, s)
		if !strings.HasPrefix(got, "192.0.2.7 sealed\n") || strings.Contains(got, "tmp\n") {
			t.Errorf("userns %s: %q", userns, got)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(root, "made"), &st); err != nil || st.Uid != 0 || st.Gid != 0 {
			t.Errorf("userns %s: made by %d:%d (%v)", userns, st.Uid, st.Gid, err)
		}
		for _, d := range []string{"proc", "sys", "dev"} {
			names, err := os.ReadDir(filepath.Join(root, d))
			if err != nil || len(names) != 0 {
				t.Errorf("userns %s: %s holds %v (%v)", userns, d, names, err)
			}
		}
		if mounts, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(mounts), root) {
			t.Errorf("userns %s: mounts are left on the host", userns)
		}
	}
}

func TestInheritedDescriptors(t *testing.T) {
	f, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, 50) // without CLOEXEC, as from a careless parent
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lock, err := os.Create(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	s := shell(t, "ls -l /proc/self/fd | wc -l; ls -l /proc/1/fd")
	r := try(t, s, Options{Keep: &Keep{Locks: []*os.File{lock}}})
	for _, l := range strings.Split(r.out, "\n") {
		if strings.Contains(l, "->") && !strings.Contains(l, "pipe:") && !strings.Contains(l, "/dev/null") {
			t.Errorf("inside: %s", l)
		}
	}
	if r.failure != nil || r.status.Code != 0 {
		t.Errorf("%+v", r)
	}
}

func TestBigPipesAndEndOfInput(t *testing.T) {
	const size = 100 << 20
	rd, wr, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1<<20)
		for range size >> 20 {
			if _, err := wr.Write(b); err != nil {
				break
			}
		}
		wr.Close()
	}()
	s := shell(t, "cat | wc -c")
	r := try(t, s, Options{Stdin: rd})
	rd.Close()
	if strings.TrimSpace(r.out) != fmt.Sprint(size) {
		t.Errorf("%q bytes passed, want %d (%v %s)", r.out, size, r.failure, r.err)
	}
	if r := try(t, shell(t, "cat; echo done"), Options{}); r.out != "done\n" {
		t.Errorf("without stdin: %q", r.out)
	}
}

func TestCapabilitiesAndPrivileges(t *testing.T) {
	const show = "while read k v; do case $k in CapEff:|CapBnd:|CapInh:|CapAmb:|NoNewPrivs:) echo $k $v;; esac; done < /proc/self/status"
	want := "CapInh: 0000000000000000\nCapEff: 00000000a80425fb\nCapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: "
	if got := must(t, shell(t, show)); sortLines(got) != sortLines(want+"0\n") {
		t.Errorf("own: %q", got)
	}
	s := shell(t, show)
	s.UserNS = "host"
	if got := must(t, s); sortLines(got) != sortLines(want+"1\n") {
		t.Errorf("host: %q", got)
	}
	s = shell(t, show)
	s.Caps, s.NoNewPrivs = []string{"chown", "CAP_SETPCAP"}, true
	if got := must(t, s); !strings.Contains(got, "CapBnd: 0000000000000101") || !strings.Contains(got, "NoNewPrivs: 1") {
		t.Errorf("chosen: %q", got)
	}
}

func sortLines(s string) string {
	l := strings.Split(strings.TrimSpace(s), "\n")
	sort.Strings(l)
	return strings.Join(l, "\n")
}

// TestCleanStart: what the host process ignores, blocks or has raised is not passed on.
func TestCleanStart(t *testing.T) {
	signal.Ignore(unix.SIGINT, unix.SIGHUP)
	defer signal.Reset(unix.SIGINT, unix.SIGHUP)
	got := must(t, shell(t, "while read k v; do case $k in SigIgn:|SigBlk:) echo $k $v;; esac; done < /proc/self/status; ulimit -Sn"))
	if want := "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n1024\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCancelStops(t *testing.T) {
	s := shell(t, "exec sleep 1000")
	ids, f, err := ClaimIDs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.IDs = ids
	mark := sleeper()
	s.Argv[2] = "exec sleep " + mark
	ctx, cancel := context.WithCancel(context.Background())
	once(t, "sleep\x00"+mark, cancel)
	st, err := Run(ctx, s, Options{})
	if want := (Status{Code: 143, Signal: 15}); err != nil || st != want {
		t.Errorf("%+v %v", st, err)
	}
	mark = sleeper()
	s.Argv[2] = "trap 'echo stay' TERM; while :; do sleep " + mark + "; done"
	slow, cancel2 := context.WithCancel(context.Background())
	start := time.Now()
	once(t, "sleep\x00"+mark, func() { start = time.Now(); cancel2() })
	st, err = Run(slow, s, Options{Grace: func() time.Duration { return 300 * time.Millisecond }})
	if want := (Status{Code: 137, Signal: 9, TimedOut: true}); err != nil || st != want || time.Since(start) < 300*time.Millisecond {
		t.Errorf("after the grace period: %+v %v, %v", st, err, time.Since(start))
	}
	st, err = Run(ctx, s, Options{})
	if st.Code != 125 || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %+v %v", st, err)
	}
}

// TestOverlayUnderneath: a copy cannot be kept on an overlay, so it is kept in memory and that is said; a root there
// cannot be idmapped, so it is copied, never used by the host's ids.
func TestOverlayUnderneath(t *testing.T) {
	dir := folder(t, "overlay", 0)
	s := shell(t, "touch /made && echo ok")
	s.Work = filepath.Join(dir, "work")
	if err := os.Mkdir(s.Work, 0o700); err != nil {
		t.Fatal(err)
	}
	r := try(t, s, Options{})
	if r.out != "ok\n" || len(r.notes) != 1 || exists(filepath.Join(s.Work, "u")) {
		t.Errorf("%+v", r)
	}
	s = shell(t, "cat /proc/self/uid_map; stat -c '%u:%g' /bin /bin/sh; touch /made && test -e /below")
	if err := os.WriteFile(filepath.Join(dir, "below"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Lower = append(s.Lower, dir)
	r = try(t, s, Options{})
	if f := strings.Fields(r.out); r.status.Code != 0 || len(r.notes) != 1 || !strings.Contains(r.notes[0], "copied for this run") ||
		len(f) != 5 || f[1] == "0" || f[3] != "0:0" || f[4] != "0:0" || exists(filepath.Join(dir, "made")) {
		t.Errorf("%+v", r)
	}
	s.UserNS = "host"
	must(t, s)
}
