package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
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
