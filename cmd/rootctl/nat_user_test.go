package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestNatOfUsers is --net=nat without rights over the host's network, through each of the programs for that.
func TestNatOfUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces, and to become another user")
	}
	o := newFixture(t).as(t, false)
	o.must(t, o.args...)
	w := newNatWorld(t, o.fixture)
	w.tun = 0o666 // as distributions have it
	before := w.natState(t)
	for _, program := range []string{"slirp4netns", "pasta"} {
		t.Run(program, func(t *testing.T) {
			n := &userNat{natWorld: w, o: o, program: program}
			n.link(t)
			t.Run("look-up", n.testLookUp)
			t.Run("killed", n.testKilled)
			t.Run("port taken", n.testPortTaken)
			t.Run("published", n.testPublished)
			t.Run("published, UDP", n.testDatagrams)
			if left := n.programs(t); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
	t.Run("neither", func(t *testing.T) {
		n := &userNat{natWorld: w, o: o, program: "none-of-them"}
		_, errs, code := w.run(t, n.probed(nil, "links"))
		if code != 125 || !strings.Contains(errs, "neither is in PATH") || !strings.Contains(errs, "apt-get install passt") {
			t.Errorf("code %d: %s", code, errs)
		}
	})
	t.Run("no tun", func(t *testing.T) {
		w.tun = 0o600
		c := (&userNat{natWorld: w, o: o, program: "pasta"}).probed(nil, "links") // its link is there
		if _, errs, code := w.run(t, c); code != 125 || !strings.Contains(errs, "/dev/net/tun") || !strings.Contains(errs, "hint: ") {
			t.Errorf("code %d: %s", code, errs)
		}
	})
	if after := w.natState(t); after != before {
		t.Errorf("the host's network was changed:\n%s\nbefore:\n%s", after, before)
	}
}

type userNat struct {
	*natWorld
	o       *ordinary
	program string // the one that rootctl finds
}

// probed is natWorld's for the user.
func (n *userNat) probed(flags []string, args ...string) *exec.Cmd {
	all := append([]string{"run", "-q", "--no-build", "--net=nat", "--bind", n.o.self + ":/probe:ro", "--env", "GODEBUG=netdns=go"}, flags...)
	c := n.o.command(append(append(all, "fixture", "/probe", probeName+"-net"), args...)...)
	c.Env = append(c.Env, "PATH="+filepath.Join(n.o.home, n.program)) // with a link to it alone
	return c
}

func (n *userNat) link(t *testing.T) {
	t.Helper()
	p, err := exec.LookPath(n.program)
	if err == nil {
		err = errors.Join(os.Mkdir(filepath.Join(n.o.home, n.program), 0o755), os.Symlink(p, filepath.Join(n.o.home, n.program, n.program)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *userNat) testLookUp(t *testing.T) {
	out, errs, code := n.run(t, n.probed([]string{"--dns", natFar}, "get", "http://"+natArchive+"/whoami"))
	if code != 0 || out != natHost+"\n" {
		t.Errorf("code %d: %q %q", code, out, errs)
	}
	var l net.Listener
	n.at(t, n.host, func() (err error) {
		l, err = net.Listen("tcp4", "127.0.0.1:7000")
		return err
	})
	defer l.Close()
	for _, to := range []string{"10.0.2.2:7000", natFar + ":7000", "127.0.0.1:7000"} {
		if out, _, code := n.run(t, n.probed(nil, "dial", to)); code == 0 {
			t.Errorf("the host's loopback is within reach at %s: %s", to, out)
		}
	}
}

func (n *userNat) listening(t *testing.T) *exec.Cmd {
	return n.awaitListening(t, n.probed([]string{"--publish", "18080:8080"}, "echo", ":8080"))
}

// testPublished: the container has sent nothing when the first connection comes.
func (n *userNat) testPublished(t *testing.T) {
	c := n.listening(t)
	n.checkPublished(t)
	end(t, c)
	n.gone(t, "the container has ended")
}

// programs lists the user's programs and wardens that run for the network of a container.
func (n *userNat) programs(t *testing.T) (list []string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range names {
		line, _ := os.ReadFile(p + "/cmdline")
		var st unix.Stat_t
		if first, _, _ := strings.Cut(string(line), "\x00"); unix.Stat(p, &st) == nil &&
			(first == "rootctl-warden" || strings.HasPrefix(filepath.Base(first), n.program)) && n.ours(p) {
			list = append(list, filepath.Base(p)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return list
}

// ours says whether a process is on the host of this world.
func (n *userNat) ours(proc string) bool {
	var a, b unix.Stat_t
	return unix.Stat(proc+"/ns/net", &a) == nil && unix.Fstat(int(n.host), &b) == nil && a.Ino == b.Ino
}

func (n *userNat) gone(t *testing.T, when string) {
	t.Helper()
	limit := time.Now().Add(5 * time.Second)
	for len(n.programs(t)) > 0 {
		if time.Now().After(limit) {
			t.Errorf("%s, and there is still %q", when, n.programs(t))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// testKilled: the program ends with the container, whatever is killed.
func (n *userNat) testKilled(t *testing.T) {
	for _, victims := range [][]string{{"rootctl"}, {"inside"}, {"keeper", "inside"}, {"warden", "inside"}, {"warden"}} {
		t.Run(strings.Join(victims, " and "), func(t *testing.T) {
			c := n.listening(t)
			if len(n.programs(t)) < 2 {
				t.Fatalf("a warden and a program are expected: %q", n.programs(t))
			}
			inside := childNamed(t, c.Process.Pid, "rootctl")
			pids := map[string]int{"rootctl": c.Process.Pid, "inside": inside, "keeper": childNamed(t, inside, "rootctl-keeper")}
			for _, p := range n.programs(t) {
				if pid, line, _ := strings.Cut(p, " "); strings.HasPrefix(line, "rootctl-warden") {
					pids["warden"] = atoi(t, pid)
				}
			}
			var err error
			for _, v := range victims {
				err = errors.Join(err, unix.Kill(pids[v], unix.SIGKILL))
			}
			if err != nil {
				t.Fatal(err)
			}
			n.gone(t, fmt.Sprintf("killed: %v", victims))
			c.Process.Signal(syscall.SIGTERM)
			c.Wait()
		})
	}
}

func (n *userNat) testPortTaken(t *testing.T) {
	var l net.Listener
	n.at(t, n.host, func() (err error) {
		l, err = net.Listen("tcp4", "0.0.0.0:18090")
		return err
	})
	defer l.Close()
	_, errs, code := n.run(t, n.probed([]string{"--publish", "18090:8080"}, "links"))
	if code != 125 || !strings.Contains(errs, n.program) || !strings.Contains(errs, "hint: ") {
		t.Errorf("code %d: %s", code, errs)
	}
}
