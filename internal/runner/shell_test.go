package runner

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// looks prints what a container is, as far as a run and a shell's lines agree.
const looks = `echo pid $$; cat /etc/hostname /etc/hosts; uname -n
for n in mnt pid net ipc uts cgroup user; do test $(readlink /proc/self/ns/$n) = $(eval echo \$host_$n) && echo $n is the host; done
while read -r a b c d at rest; do echo "at $at"; done </proc/self/mountinfo
while read -r dev rest; do case $dev in *:) echo "net $dev";; esac; done </proc/net/dev
for p in /proc/[0-9]*; do echo $p; done; cat /proc/sys/kernel/core_pattern >/dev/null; echo x 2>/dev/null >/proc/sys/kernel/core_pattern || echo proc sys is read-only
echo written >/etc/hosts; echo y >/new; pwd; id -u; echo "arg [$1]"`

func shellSpec(t *testing.T) Spec {
	s := shell(t, "")
	s.Argv = []string{"sh", "-c", looks, "sh", "it's one word"}
	for _, n := range []string{"mnt", "pid", "net", "ipc", "uts", "cgroup", "user"} {
		id, err := os.Readlink("/proc/self/ns/" + n)
		if err != nil {
			t.Fatal(err)
		}
		s.Env = append(s.Env, "host_"+n+"="+id)
	}
	return s
}

// TestShellDoesTheSame runs the lines of a plan and compares what is inside with a run.
func TestShellDoesTheSame(t *testing.T) {
	for _, users := range []string{"own", "host"} {
		t.Run(users, func(t *testing.T) {
			s := shellSpec(t)
			s.UserNS = users
			want := must(t, s)
			if users == "own" {
				s.IDs = IDRange{Base: firstID, Size: blockID}
			}
			script, err := s.Shell(false)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			c := exec.Command("timeout", "20", "sh")
			c.Env, c.Stdin = append(os.Environ(), "TMPDIR="+dir), strings.NewReader(script)
			var errs strings.Builder
			c.Stderr = &errs
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%v\n%s\n%s", err, errs.String(), script)
			}
			if d := cmp.Diff(want, string(out)); d != "" {
				t.Errorf("a run (-), the lines (+):\n%s\n%s", d, script)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
			if b, err := os.ReadFile(sharedRoot(t) + "/etc/hosts"); err != nil || string(b) != "192.0.2.7 sealed\n" || exists(sharedRoot(t)+"/new") {
				t.Errorf("the root has changed: %q, %v", b, err)
			}
		})
	}
}

// TestShellReadOnly: a sealed root is one in the lines too, and memory has the size that was asked for.
func TestShellReadOnly(t *testing.T) {
	s := shell(t, "")
	s.Argv = []string{"sh", "-c", "echo x 2>/dev/null >/etc/new || echo sealed; echo x >/tmp/new && echo memory; while read -r a b c d at e f g rest; do case $at in /srv) echo $rest; esac; done </proc/self/mountinfo"}
	s.ReadOnly, s.IDs = true, IDRange{Base: firstID, Size: blockID}
	s.Memory = []Memory{{Path: "/srv", Size: 1 << 20}}
	script, err := s.Shell(false)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("timeout", "20", "sh")
	c.Env, c.Stdin = append(os.Environ(), "TMPDIR="+t.TempDir()), strings.NewReader(script)
	out, err := c.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "sealed\nmemory\n") || !strings.Contains(string(out), "size=1024k") {
		t.Errorf("%v\n%s\n%s", err, out, script)
	}
}

func TestShellRefuses(t *testing.T) {
	for flag, change := range map[string]func(*Spec){
		"--user":    func(s *Spec) { s.User = &Identity{UID: 1} },
		"--init":    func(s *Spec) { s.Init = true },
		"--net=nat": func(s *Spec) { s.Net = "nat" },
	} {
		s := Spec{Lower: []string{"/root"}, Argv: []string{"true"}}
		change(&s)
		if _, err := s.Shell(false); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
}

// TestShellPasted pastes the lines into a shell at a terminal; what is typed next goes to the command inside, and what
// follows its end to the shell again.
func TestShellPasted(t *testing.T) {
	s := shell(t, "")
	s.Argv = []string{"sh"}
	s.IDs = IDRange{Base: firstID, Size: blockID}
	script, err := s.Shell(false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("script"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := exec.Command("timeout", "30", "script", "-qec", "sh -i", "/dev/null")
	c.Env = append(os.Environ(), "TMPDIR="+dir, "PS1=$ ")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out lockedBuffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(script) { // a terminal takes 4 kB at a time
		in.Write([]byte(line))
		time.Sleep(2 * time.Millisecond)
	}
	in.Write([]byte("echo in:$$:$(uname -n)\n"))
	eventually(t, "the shell inside answers", func() bool { return strings.Contains(out.String(), "in:1:rootctl") })
	in.Write([]byte("exit\n"))
	eventually(t, "the copy is removed", func() bool { left, _ := os.ReadDir(dir); return len(left) == 0 })
	in.Write([]byte("echo out:$((6*7))\nexit\n"))
	if err := c.Wait(); err != nil || !strings.Contains(out.String(), "out:42") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// lockedBuffer is written by a process while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
