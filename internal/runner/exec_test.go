package runner

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// running is a container in progress.
type running struct {
	Target
	end  func() // kills it and waits
	done chan struct{}
	st   Status
}

// running starts a container and waits until its command has been executed.
func startContainer(t testing.TB, s Spec) *running {
	t.Helper()
	needRoot(t)
	if s.ownUsers() && s.IDs.Size == 0 {
		ids, f, err := ClaimIDs(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		s.IDs = ids
	}
	r := &running{done: make(chan struct{})}
	r.Spec = s
	started := make(chan Process, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(r.done)
		var err error
		r.st, err = Run(ctx, s, Options{Grace: func() time.Duration { return 100 * time.Millisecond }, Started: func(p Process) error { started <- p; return nil }})
		if err != nil {
			t.Error(err)
		}
	}()
	r.end = func() { cancel(); <-r.done }
	t.Cleanup(r.end)
	select {
	case r.Process = <-started:
	case <-r.done:
		t.Fatal("the container did not start")
	}
	return r
}

// exec runs a script in a container.
func (r *running) exec(t testing.TB, c Command) result {
	t.Helper()
	if c.Env == nil {
		c.Env = []string{"PATH=/bin:/usr/bin"}
	}
	var res result
	outR, outW, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var out bytes.Buffer
	wg.Add(1)
	go func() { defer wg.Done(); io.Copy(&out, outR) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	res.status, res.failure = Exec(ctx, r.Target, c, Options{Stdout: outW, Stderr: outW})
	outW.Close()
	wg.Wait()
	outR.Close()
	res.out = out.String()
	return res
}

func script(s string) Command { return Command{Argv: []string{"sh", "-c", s}} }

const idle = "trap : USR1; while :; do sleep 1000; done"

// execModes are the modes of this test: both as root.
func execModes(t *testing.T, f func(*testing.T, Spec)) {
	for _, users := range []string{"own", "host"} {
		for _, net := range []string{"none", "host"} {
			t.Run(users+" users, net "+net, func(t *testing.T) {
				s := shell(t, idle)
				s.UserNS, s.Net = users, net
				f(t, s)
			})
		}
	}
}

func TestExecSameWorld(t *testing.T) {
	const look = `for n in user mnt pid net uts ipc cgroup; do readlink /proc/self/ns/$n; done
grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status 2>/dev/null || while read l; do case $l in Cap*|NoNew*|Seccomp*) echo "$l";; esac; done </proc/self/status
umask; id; pwd; ls /proc/self/fd | wc -l; hostname; cat /etc/hosts`
	execModes(t, func(t *testing.T, s Spec) {
		s.Argv = []string{"sh", "-c", "cd /tmp; (" + look + ") >/tmp/part; mv /tmp/part /tmp/one; " + idle}
		s.Workdir = "/tmp"
		c := startContainer(t, s)
		eventually(t, "the init writes", func() bool {
			return c.exec(t, script("[ -e /tmp/one ]")).status.Code == 0
		})
		joined := c.exec(t, script(look))
		own := c.exec(t, script("cat /tmp/one"))
		if joined.failure != nil || joined.out != own.out || joined.out == "" {
			t.Errorf("%v\njoined:\n%s\ninit:\n%s", joined.failure, joined.out, own.out)
		}
	})
}

func TestExecCodes(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	for _, x := range []struct {
		cmd  Command
		code int
	}{
		{script("exit 0"), 0}, {script("exit 7"), 7}, {script("kill -9 $$"), 137}, {script("kill -TERM $$"), 143},
		{Command{Argv: []string{"nowhere"}}, 127}, {Command{Argv: []string{"/bin/noexec"}}, 126},
		{Command{Argv: []string{"true"}, Workdir: "/nowhere"}, 125}, {Command{Argv: nil}, 125},
	} {
		if r := c.exec(t, x.cmd); r.status.Code != x.code {
			t.Errorf("%v: code %d, want %d (%v) %s", x.cmd.Argv, r.status.Code, x.code, r.failure, r.out)
		}
	}
}

func TestExecUser(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	r := c.exec(t, Command{Argv: []string{"sh", "-c", "id; while read l; do case $l in CapEff*|CapPrm*) echo \"$l\";; esac; done </proc/self/status"},
		User: &Identity{UID: 1000, GID: 1000, Groups: []uint32{4, 24}}})
	for _, want := range []string{"uid=1000(user) gid=1000(user) groups=1000(user),4,24", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
		if !strings.Contains(r.out, want) && !strings.Contains(strings.ReplaceAll(r.out, " 0", "\t0"), want) {
			t.Errorf("no %q in %q (%v)", want, r.out, r.failure)
		}
	}
	if r := c.exec(t, Command{Argv: []string{"true"}, User: &Identity{UID: 70000}}); r.status.Code != 125 {
		t.Errorf("an id that is not mapped: %+v %v", r.status, r.failure)
	}
}

func TestExecRefusesAnother(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	var gone *GoneError
	other := *c
	other.StartTime++
	if r := other.exec(t, script("true")); !errors.As(r.failure, &gone) || r.status.Code != 125 {
		t.Errorf("another start time: %v", r.failure)
	}
	if c.PidfdInode != 0 {
		other = *c
		other.PidfdInode++
		if r := other.exec(t, script("true")); !errors.As(r.failure, &gone) {
			t.Errorf("another pidfd inode: %v", r.failure)
		}
	}
	lock, err := os.Create(t.TempDir() + "/lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	other = *c
	other.Lock = lock.Name()
	if r := other.exec(t, script("true")); !errors.As(r.failure, &gone) {
		t.Errorf("a lock that nobody holds: %v", r.failure)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if r := other.exec(t, script("true")); r.failure != nil {
		t.Errorf("a lock that is held: %v", r.failure)
	}
	c.end()
	if r := c.exec(t, script("true")); !errors.As(r.failure, &gone) {
		t.Errorf("after the end: %v", r.failure)
	}
}

// TestExecRacesTheEnd joins containers that end at the same moment: each exec has run its command, was killed with the
// container or says that it is gone.
func TestExecRacesTheEnd(t *testing.T) {
	for i := range 20 {
		c := startContainer(t, shell(t, idle))
		go func() { time.Sleep(time.Duration(i) * 300 * time.Microsecond); c.end() }()
		for range 50 {
			r := c.exec(t, script("exit 3"))
			var gone *GoneError
			if errors.As(r.failure, &gone) {
				break
			}
			if r.failure != nil || r.status.Code != 3 && r.status.Code != 137 {
				t.Fatalf("%+v, %v", r.status, r.failure)
			}
		}
		c.end()
	}
}

func TestExecEndsWithTheContainer(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	mark := sleeper()
	once(t, "sleep\x00"+mark, c.end)
	if r := c.exec(t, script("sleep "+mark)); r.status.Code != 137 || !r.status.Outside {
		t.Errorf("%+v %v", r.status, r.failure)
	}
}

func TestExecForwardsSignals(t *testing.T) {
	c := startContainer(t, shell(t, idle))
	signals := make(chan os.Signal, 2)
	defer signal.Stop(signals)
	mark := sleeper()
	once(t, "sleep\x00"+mark, func() { signals <- unix.SIGINT })
	st, err := Exec(context.Background(), c.Target, Command{Argv: []string{"sh", "-c", "trap 'exit 9' INT; sleep " + mark + " & wait"}, Env: []string{"PATH=/bin:/usr/bin"}}, Options{Signals: signals})
	if err != nil || st.Code != 9 {
		t.Errorf("%+v %v", st, err)
	}
	mark = sleeper()
	once(t, "sleep\x00"+mark, func() { signals <- unix.SIGTERM })
	st, err = Exec(context.Background(), c.Target, Command{Argv: []string{"sleep", mark}, Env: []string{"PATH=/bin:/usr/bin"}}, Options{Signals: signals})
	if err != nil || st.Code != 143 {
		t.Errorf("%+v %v", st, err)
	}
}
