package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/runner"
)

// probed is rootctl run with this binary as the command, and flags before the root's name.
func (w *natWorld) probed(flags []string, args ...string) *exec.Cmd {
	all := append([]string{"run", "-q", "--no-build", "--bind", w.self + ":/probe:ro", "--env", "GODEBUG=netdns=go"}, flags...)
	return w.command(w.cache, append(append(all, "fixture", "/probe", probeName+"-net"), args...)...)
}

// TestNat is --net=nat as root between network namespaces of its own.
func TestNat(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces and containers")
	}
	w := newNatWorld(t, newFixture(t))
	w.build(t, w.cache)
	t.Run("none", w.testNone)
	before := w.natState(t)
	for _, x := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"look-up and masquerade", w.testMasquerade},
		{"apt-get update", w.testApt},
		{"published", w.testPublished},
		{"out of reach", w.testOutOfReach},
		{"exec", w.testExecInside},
		{"20 at once", w.testTwenty},
		{"killed", w.testKilledNat},
		{"killed with its keeper", w.testKilledWithKeeper},
		{"docker", w.testDocker},
		{"forward drops", w.testForwardDrops},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.run(t)
			if after := w.natState(t); after != before {
				t.Errorf("the host's network was not put back:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func (w *natWorld) testNone(t *testing.T) {
	out, errs, code := w.run(t, w.probed(nil, "links"))
	if code != 0 || out != "lo [127.0.0.1/8 ::1/128]\n" || errs != "" {
		t.Errorf("code %d: %q %q", code, out, errs)
	}
	out, errs, code = w.run(t, w.probed(nil, "get", "http://"+natArchive+"/whoami"))
	if want := "note: the command tried the network, which is off; add --net=host or --net=nat\n"; code != 1 || errs != want {
		t.Errorf("code %d: %q %q", code, out, errs)
	}
}

func (w *natWorld) testMasquerade(t *testing.T) {
	out, errs, code := w.run(t, w.probed([]string{"--net=nat", "--dns", natFar}, "get", "http://"+natArchive+"/whoami"))
	if code != 0 || out != natHost+"\n" {
		t.Errorf("code %d: %q %q", code, out, errs)
	}
}

// testApt has this host's own apt-get ask the far archive by name, from a container.
func (w *natWorld) testApt(t *testing.T) {
	src := t.TempDir()
	key, err := os.ReadFile(w.args[slices.Index(w.args, "--keyring")+1])
	if err != nil {
		t.Fatal(err)
	}
	list := "deb [signed-by=/src/key.gpg] http://" + natArchive + " bionic main\n"
	if err := errors.Join(os.WriteFile(filepath.Join(src, "key.gpg"), key, 0o644), os.WriteFile(filepath.Join(src, "sources.list"), []byte(list), 0o644), os.Chmod(src, 0o755)); err != nil {
		t.Fatal(err)
	}
	args := []string{"run", "-q", "--no-build", "--net=nat", "--dns", natFar, "--bind", src + ":/src:ro"}
	for _, d := range []string{"/usr", "/bin", "/sbin", "/lib", "/lib64"} {
		if _, err := os.Stat(d); err == nil {
			args = append(args, "--bind", d+":ro")
		}
	}
	args = append(args, "fixture", "sh", "-c", "mkdir -p /tmp/state/lists/partial /tmp/cache/archives/partial /etc/apt/apt.conf.d && exec apt-get update "+
		"-o Dir::Etc=/src -o Dir::State=/tmp/state -o Dir::Cache=/tmp/cache -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=0")
	w.mu.Lock()
	w.peers = map[string]bool{}
	w.mu.Unlock()
	out, errs, code := w.run(t, w.command(w.cache, args...))
	if code != 0 || !strings.Contains(out, "http://"+natArchive+" bionic") || strings.Contains(out+errs, "W:") {
		t.Errorf("apt-get update: code %d\n%s%s", code, out, errs)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.peers) != 1 || !w.peers[natHost] {
		t.Errorf("the archive saw %v", w.peers)
	}
}

// listening starts a container that sends back what it gets at port 8080, and waits for it.
func (w *natWorld) listening(t *testing.T, flags ...string) *exec.Cmd {
	t.Helper()
	return w.awaitListening(t, w.probed(append([]string{"--net=nat"}, flags...), "echo", ":8080"))
}

func (w *natWorld) awaitListening(t *testing.T, c *exec.Cmd) *exec.Cmd {
	t.Helper()
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	w.start(t, c)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "listening\n" {
		c.Wait()
		t.Fatalf("%q, %v: %s", line, err, errs.String())
	}
	return c
}

// end stops a container as Ctrl-C of its rootctl would.
func end(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	c.Wait()
}

func (w *natWorld) checkPublished(t *testing.T) {
	t.Helper()
	for _, x := range []struct {
		from string
		err  error
	}{
		{"the other namespace", w.echoed(w.far, natHost+":18080")},
		{"the host", w.echoed(w.host, natHost+":18080")},
		{"the host's 127.0.0.1", w.echoed(w.host, "127.0.0.1:18080")},
	} {
		if x.err != nil {
			t.Errorf("published port, from %s: %v", x.from, x.err)
		}
	}
}

func (w *natWorld) testPublished(t *testing.T) {
	c := w.listening(t, "--publish", "18080:8080", "--publish", "127.0.0.1:18081:8080")
	defer end(t, c)
	w.checkPublished(t)
	if err := w.echoed(w.host, "127.0.0.1:18081"); err != nil {
		t.Errorf("port of 127.0.0.1: %v", err)
	}
	if err := w.echoed(w.far, natHost+":18081"); err == nil {
		t.Error("a port of 127.0.0.1 answers the other namespace")
	}
	_, errs, code := w.run(t, w.probed([]string{"--net=nat", "--publish", "18080:80"}, "links"))
	if code != 125 || !strings.Contains(errs, "another container has the port") {
		t.Errorf("the same port again: code %d, %s", code, errs)
	}
}

// testOutOfReach: neither the host's own loopback nor another container answers.
func (w *natWorld) testOutOfReach(t *testing.T) {
	var l net.Listener
	w.at(t, w.host, func() (err error) {
		l, err = net.Listen("tcp4", "127.0.0.2:7000")
		return err
	})
	defer l.Close()
	c := w.listening(t)
	defer end(t, c)
	addr := regexp.MustCompile(`10\.\d+\.\d+\.\d+`)
	out, _, _ := w.run(t, w.probed([]string{"--net=nat"}, "links"))
	mine := addr.FindString(out)
	if mine == "" {
		t.Fatalf("no address: %q", out)
	}
	dot := strings.LastIndex(mine, ".")
	for _, to := range []string{mine[:dot] + ".2:8080", mine[:dot] + ".3:8080", "127.0.0.2:7000"} {
		if out, _, code := w.run(t, w.probed([]string{"--net=nat"}, "dial", to)); code == 0 {
			t.Errorf("%s answers: %s", to, out)
		}
	}
}

// testExecInside: who joins a container has its network.
func (w *natWorld) testExecInside(t *testing.T) {
	name := fmt.Sprintf("nat-exec-%d", os.Getpid())
	c := w.listening(t, "--name", name)
	defer end(t, c)
	try := func() (string, string, int) {
		return w.run(t, w.command(w.cache, "exec", name, "/probe", probeName+"-net", "get", "http://"+natFar+"/whoami"))
	}
	out, errs, code := try()
	for limit := time.Now().Add(5 * time.Second); code == 125 && time.Now().Before(limit); { // it is recorded once it runs
		time.Sleep(20 * time.Millisecond)
		out, errs, code = try()
	}
	if code != 0 || out != natHost+"\n" {
		t.Errorf("code %d: %q %q", code, out, errs)
	}
}

func (w *natWorld) testTwenty(t *testing.T) {
	var wg sync.WaitGroup
	for range 20 {
		c := w.probed([]string{"--net=nat", "--dns", natFar}, "get", "http://"+natArchive+"/whoami")
		wg.Go(func() {
			if out, errs, code := w.run(t, c); code != 0 || out != natHost+"\n" {
				t.Errorf("code %d: %q %q", code, out, errs)
			}
		})
	}
	wg.Wait()
}

func (w *natWorld) testKilledNat(t *testing.T) {
	before := w.natState(t)
	c := w.listening(t, "--publish", "18080:8080")
	w.checkPublished(t)
	c.Process.Kill()
	c.Wait()
	within := time.Now().Add(5 * time.Second)
	for w.natState(t) != before && time.Now().Before(within) {
		time.Sleep(20 * time.Millisecond)
	}
}

// childNamed is the one child of a process with a name, as ps shows it.
func childNamed(t *testing.T, pid int, name string) int {
	t.Helper()
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, l := range lists {
		b, _ := os.ReadFile(l) // of a thread that has ended: none
		for _, f := range strings.Fields(string(b)) {
			child, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			if comm, _ := os.ReadFile("/proc/" + f + "/comm"); string(comm) == name+"\n" {
				return child
			}
		}
	}
	t.Fatalf("process %d has no child %s", pid, name)
	return 0
}

// testKilledWithKeeper: nobody is left to tidy up, so the next run does.
func (w *natWorld) testKilledWithKeeper(t *testing.T) {
	c := w.listening(t, "--publish", "18080:8080")
	keeper := childNamed(t, c.Process.Pid, "rootctl-keeper")
	if err := errors.Join(unix.Kill(keeper, unix.SIGKILL), c.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	c.Wait()
	time.Sleep(100 * time.Millisecond) // the container ends with its rootctl
	if out, errs, code := w.run(t, w.probed([]string{"--net=nat", "--publish", "18080:8080"}, "links")); code != 0 {
		t.Errorf("the next run: code %d: %s%s", code, out, errs)
	}
}

// iptables gives the host of this world rules of somebody else's.
func (w *natWorld) iptables(t *testing.T, lines ...string) {
	t.Helper()
	w.at(t, w.host, func() error {
		for _, l := range lines {
			if out, err := exec.Command("iptables-nft", strings.Fields(l)...).CombinedOutput(); err != nil {
				return fmt.Errorf("iptables-nft %s: %w: %s", l, err, out)
			}
		}
		return nil
	})
}

// testDocker: the rules of a host with Docker.
func (w *natWorld) testDocker(t *testing.T) {
	w.iptables(t, "-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER")
	before := w.natState(t)
	w.testMasquerade(t)
	w.testApt(t)
	c := w.listening(t, "--publish", "18080:8080")
	w.checkPublished(t)
	end(t, c)
	if after := w.natState(t); after != before {
		t.Errorf("Docker's rules were not put back:\n%s\nbefore:\n%s", after, before)
	}
	w.removeTables(t)
}

func (w *natWorld) removeTables(t *testing.T) {
	t.Helper()
	w.at(t, w.host, func() error { return exec.Command("nft", "flush", "ruleset").Run() })
}

// testForwardDrops: somebody lets nothing through, and there is no chain for others. pasta does without, else the run is
// refused.
func (w *natWorld) testForwardDrops(t *testing.T) {
	for _, x := range []struct{ name, program, rules string }{{"nft", "iptables-nft", "filter"}, {"legacy", "iptables-legacy", "filter (iptables-legacy)"}} {
		t.Run(x.name, func(t *testing.T) {
			if within(w.host, exec.Command(x.program, "-S").Run) != nil {
				t.Logf("%s does not work here: this kernel has no such tables", x.program)
				return
			}
			w.policy(t, x.program, "DROP")
			defer w.removeTables(t)
			defer w.policy(t, x.program, "ACCEPT")
			before := w.natState(t)
			c := w.probed([]string{"--net=nat"}, "links")
			c.Env = append(c.Env, "PATH=/nowhere")
			_, errs, code := w.run(t, c)
			if code != 125 || !strings.Contains(errs, "FORWARD of table "+x.rules) || !strings.Contains(errs, "hint: install passt") {
				t.Errorf("without pasta: code %d: %s", code, errs)
			}
			for _, users := range []string{"own", "host"} {
				out, errs, code := w.run(t, w.probed([]string{"--net=nat", "--dns", natFar, "--userns=" + users}, "get", "http://"+natArchive+"/whoami"))
				if code != 0 || out != natHost+"\n" {
					t.Errorf("through pasta, --userns=%s: code %d: %q %q", users, code, out, errs)
				}
			}
			if after := w.natState(t); after != before {
				t.Errorf("the host was changed:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func (w *natWorld) policy(t *testing.T, program, policy string) {
	t.Helper()
	w.at(t, w.host, func() error {
		out, err := exec.Command(program, "-P", "FORWARD", policy).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", program, err, out)
		}
		return nil
	})
}

// TestCAFile: the authorities of --ca-file are inside, beside the root's own.
func TestCAFile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers")
	}
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	f.build(t, dir)
	mine := filepath.Join(t.TempDir(), "ours.pem")
	pem := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	if err := os.WriteFile(mine, []byte(pem), 0o644); err != nil {
		t.Fatal(err)
	}
	script := "cat /etc/ssl/certs/ca-certificates.crt; echo $SSL_CERT_FILE $CURL_CA_BUNDLE"
	run := func(args ...string) (string, string, int) {
		return outcome(t, f.command(dir, append([]string{"run", "-q", "--no-build"}, args...)...))
	}
	out, errs, code := run("--net=host", "--ca-file", mine, "--env", "CURL_CA_BUNDLE=/mine", "fixture", "sh", "-c", script)
	if code != 0 || out != pem+"/etc/ssl/certs/ca-certificates.crt /mine\n" {
		t.Errorf("code %d: %q %s", code, out, errs)
	}
	if out, _, _ := run("--ca-file", mine, "fixture", "sh", "-c", script); out != "\n" {
		t.Errorf("without a network: %q", out)
	}
	if _, errs, code := run("--net=host", "--ca-file", "/etc/passwd", "fixture", "true"); code != 125 || !strings.Contains(errs, "holds no certificate") {
		t.Errorf("code %d: %s", code, errs)
	}
	// A root with authorities, and some with a trap in their place.
	for name, x := range map[string]struct {
		make func(tree string) error
		want string
	}{
		"own": {func(tree string) error {
			return os.WriteFile(filepath.Join(tree, caBundle), []byte("own"), 0o644)
		}, "own\n" + pem},
		"link": {func(tree string) error { return os.Symlink("/etc/shadow", filepath.Join(tree, caBundle)) }, ""},
		"pipe": {func(tree string) error { return unix.Mkfifo(filepath.Join(tree, caBundle), 0o644) }, ""},
	} {
		tree := t.TempDir()
		err := errors.Join(os.MkdirAll(filepath.Join(tree, "etc/ssl/certs"), 0o755), x.make(tree))
		if err != nil {
			t.Fatal(err)
		}
		s := runner.Spec{Net: "host"}
		err = putCA(mine, &s, tree)
		if (err == nil) != (x.want != "") || err == nil && string(s.Files[0].Data) != x.want {
			t.Errorf("%s: %v, %+v", name, err, s.Files)
		}
	}
}
