package runner

import (
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

func TestBare(t *testing.T) {
	s := shell(t, "ls /proc /sys /dev /tmp; mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /tmp &&"+
		" readlink /proc/self && ls /sys/class/net && echo x >/tmp/x; echo $$")
	s.Bare = true
	lines := strings.Fields(must(t, s))
	if got := strings.Join(lines, " "); !strings.HasPrefix(got, "/dev: /proc: /sys: /tmp:") || !strings.Contains(got, " lo 1") {
		t.Errorf("bare: %s", got)
	}
}
