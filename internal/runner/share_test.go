package runner

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func sharedNamespaces(t *testing.T, s Spec) map[string]bool {
	t.Helper()
	s.Argv = []string{"sh", "-c", "for n in pid net ipc uts mnt; do echo $n $(readlink /proc/self/ns/$n); done; echo; ls -d /proc/[0-9]*"}
	shared := map[string]bool{}
	out := must(t, s)
	for _, line := range strings.Split(out, "\n") {
		if ns, id, ok := strings.Cut(line, " "); ok {
			host, err := os.Readlink("/proc/self/ns/" + ns)
			if err != nil {
				t.Fatal(err)
			}
			shared[ns] = id == host
		}
	}
	if own := filepath.Join("/proc", strconv.Itoa(os.Getpid())); strings.Contains(out, own+"\n") != shared["pid"] {
		t.Errorf("the host's processes in /proc: shared is %v", shared["pid"])
	}
	return shared
}

func TestShare(t *testing.T) {
	for _, ns := range []string{"", "pid", "net", "ipc", "uts"} {
		s := shell(t, "")
		if ns != "" {
			s.Share = []string{ns}
		}
		if ns == "net" {
			s.Net = "host"
		}
		for name, is := range sharedNamespaces(t, s) {
			if is != (name == ns) {
				t.Errorf("share %q: %s is the host's: %v", ns, name, is)
			}
		}
	}
}

// TestSharePIDLeavesNothing: no PID namespace ends what the command leaves behind.
func TestSharePIDLeavesNothing(t *testing.T) {
	s := shell(t, "setpriv --pdeathsig clear sleep 7331 & sleep 7331 & :")
	s.Share = []string{"pid"}
	must(t, s)
	eventually(t, "the sleeps end", func() bool { return len(processes(t, "sleep\x007331")) == 0 })
}

// TestSharePIDKilled: SIGKILL of the host process ends all of them, those with namespaces of their own too.
func TestSharePIDKilled(t *testing.T) {
	root := sharedRoot(t)
	for _, c := range []struct {
		summary string
		spec    Spec
	}{
		{"user namespace", Spec{Seccomp: "none"}},
		{"host's users", Spec{UserNS: "host"}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			work := filepath.Join(t.TempDir(), "work")
			if err := os.Mkdir(work, 0o700); err != nil {
				t.Fatal(err)
			}
			mark := sleeper()
			s := c.spec
			s.Share, s.Lower, s.Work, s.Env = []string{"pid"}, []string{root}, work, []string{"PATH=/bin:/usr/bin"}
			s.Argv = []string{"sh", "-c", "setpriv --reuid 1000 sleep $0 & setpriv --pdeathsig clear sleep $0 & while :; do sh -c 'sleep 0.01 # '$0; done & echo x; sleep $0", mark}
			if s.UserNS == "" {
				s.Argv[2] = "unshare --user --mount sleep $0 & " + s.Argv[2]
			}
			cmd := startHelper(t, job{Spec: s, Remove: []string{work}}, nil, nil, os.Stderr)
			eventually(t, "they all run", func() bool { return len(processes(t, "sleep\x00"+mark)) >= 3 })
			cmd.Process.Kill()
			cmd.Wait()
			eventually(t, "no process", func() bool { return len(processes(t, mark)) == 0 })
			eventually(t, "no copy", func() bool { return !exists(work) })
			eventually(t, "no keeper", func() bool { return len(processes(t, work)) == 0 })
		})
	}
}

// TestSharePIDRefusedStart: a command that has been executed and is refused then ends with all it has begun.
func TestSharePIDRefusedStart(t *testing.T) {
	mark := sleeper()
	s := shell(t, "sleep "+mark+" & sleep "+mark)
	s.Share = []string{"pid"}
	begun := 0
	try(t, s, Options{Started: func(Process) error {
		begun = started(t, "sleep\x00"+mark)
		return errors.New("refused")
	}})
	if begun == 0 {
		t.Error("it did not start")
	}
	eventually(t, "no process", func() bool { return len(processes(t, mark)) == 0 })
}

func TestBare(t *testing.T) {
	s := shell(t, "ls /proc /sys /dev /tmp; mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /tmp &&"+
		" readlink /proc/self && ls /sys/class/net && echo x >/tmp/x; echo $$")
	s.Bare = true
	lines := strings.Fields(must(t, s))
	if got := strings.Join(lines, " "); !strings.HasPrefix(got, "/dev: /proc: /sys: /tmp:") || !strings.Contains(got, " lo 1") {
		t.Errorf("bare: %s", got)
	}
}

// TestSharedUsersTraceNothing: root with the host's users and processes may look into none of them. A ptrace of a process
// that is not there tells whether the call is refused; the exit code is the error.
func TestSharedUsersTraceNothing(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("needs amd64: programs of its instructions")
	}
	root := copyRoot(t)
	programs := map[string][]byte{
		"native": tinyELF(2, []byte{0xb8, 101, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 0xff, 0xff, 0xff, 0x7f, 0x0f, 5, 0xf7, 0xd8, 0x89, 0xc7, 0xb8, 60, 0, 0, 0, 0x0f, 5}),
		"i386":   tinyELF(1, []byte{0xb8, 26, 0, 0, 0, 0xbb, 1, 0, 0, 0, 0xb9, 0xff, 0xff, 0xff, 0x7f, 0xcd, 0x80, 0xf7, 0xd8, 0x89, 0xc3, 0xb8, 1, 0, 0, 0, 0xcd, 0x80}),
	}
	for name, b := range programs {
		if err := os.WriteFile(filepath.Join(root, "bin", name), b, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			spec Spec
			want int
		}{
			{Spec{}, int(unix.ESRCH)},
			{Spec{UserNS: "host"}, int(unix.ESRCH)},
			{Spec{UserNS: "host", Share: []string{"pid"}}, int(unix.EPERM)},
		} {
			c.spec.Lower, c.spec.Argv = []string{root}, []string{"/bin/" + name}
			r := try(t, c.spec, Options{})
			if r.failure != nil && strings.Contains(r.failure.Error(), "not a program") {
				t.Logf("%s: this kernel runs no such programs", name)
				continue
			}
			if r.failure != nil || r.status.Code != c.want {
				t.Errorf("%s, users %q, shared %q: %+v, %v; want %d", name, c.spec.UserNS, c.spec.Share, r.status, r.failure, c.want)
			}
		}
	}
}
