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
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
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
		{"published, UDP", w.testDatagrams},
		{"out of reach", w.testOutOfReach},
		{"neighbour", w.testNeighbour},
		{"forged", w.testForged},
		{"exec", w.testExecInside},
		{"proxies and authorities", w.testProxies},
		{"20 at once", w.testTwenty},
		{"killed", w.testKilledNat},
		{"killed with its keeper", w.testKilledWithKeeper},
		{"swept", w.testSwept},
		{"docker", w.testDocker},
		{"forward drops", w.testForwardDrops},
	} {
		t.Run(x.name, func(t *testing.T) {
			x.run(t)
			after := w.natState(t)
			for end := time.Now().Add(10 * time.Second); after != before && time.Now().Before(end); after = w.natState(t) {
				time.Sleep(20 * time.Millisecond) // the monitor of a detached container gives its network back
			}
			if after != before {
				t.Errorf("the host's network was not put back:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

// testNone: only lo is there, and a command that failed after it tried more gets a note, however it tried.
func (w *natWorld) testNone(t *testing.T) {
	out, errs, code := w.run(t, w.probed(nil, "links"))
	if code != 0 || out != "lo [127.0.0.1/8 ::1/128]\n" || errs != "" {
		t.Errorf("code %d: %q %q", code, out, errs)
	}
	const note = "note: the command tried the network, which is off; "
	tries := map[string][]string{"look-up": {"get", "http://" + natArchive + "/whoami"}, "connect": {"dial", natFar + ":80"}, "sendto": {"sendto"}}
	for name, try := range tries {
		out, errs, code = w.run(t, w.probed(nil, try...))
		if code != 1 || errs != note+"add --net=host or --net=nat\n" {
			t.Errorf("%s: code %d: %q %q", name, code, out, errs)
		}
	}
	// What joins counts for itself.
	name := fmt.Sprintf("none-exec-%d", os.Getpid())
	c := w.awaitListening(t, w.probed([]string{"--name", name}, "echo", ":8080"))
	defer end(t, c)
	for _, x := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"links"}, 0, ""},
		{tries["sendto"], 1, note + "the container needs a run with --net=host or --net=nat\n"},
		{[]string{"dial", "127.0.0.1:1"}, 1, ""},
		{tries["look-up"], 1, note + "the container needs a run with --net=host or --net=nat\n"},
	} {
		out, errs, code := w.exec(t, name, x.args...)
		if code != x.code || errs != x.want {
			t.Errorf("exec %s: code %d: %q %q", x.args, code, out, errs)
		}
	}
}

// exec joins a container, once it is recorded.
func (w *natWorld) exec(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	all := append([]string{"exec", name, "/probe", probeName + "-net"}, args...)
	stdout, stderr, code = w.run(t, w.command(w.cache, all...))
	for limit := time.Now().Add(10 * time.Second); code == 125 && time.Now().Before(limit); {
		time.Sleep(20 * time.Millisecond)
		stdout, stderr, code = w.run(t, w.command(w.cache, all...))
	}
	return stdout, stderr, code
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
	out, errs, code := w.exec(t, name, "get", "http://"+natFar+"/whoami")
	if code != 0 || out != natHost+"\n" {
		t.Errorf("code %d: %q %q", code, out, errs)
	}
}

// testProxies: with a network the proxies pass in, and a CA goes with it; without one they do not.
func (w *natWorld) testProxies(t *testing.T) {
	pem := "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	ca := filepath.Join(t.TempDir(), "ours.pem")
	if err := os.WriteFile(ca, []byte(pem), 0o644); err != nil {
		t.Fatal(err)
	}
	names := []string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}
	script, proxies := "echo", ""
	for _, n := range names {
		script += " $" + n
		proxies += " of-" + n
	}
	for mode, want := range map[string]string{"nat": proxies[1:] + "\n/etc/ssl/certs/ca-certificates.crt\n" + pem, "host": proxies[1:] + "\n/etc/ssl/certs/ca-certificates.crt\n" + pem, "none": "\n\n"} {
		c := w.command(w.cache, "run", "-q", "--no-build", "--net="+mode, "--ca-file", ca, "fixture", "sh", "-c", script+"; echo $SSL_CERT_FILE; [ -z \"$SSL_CERT_FILE\" ] || cat $SSL_CERT_FILE")
		for _, n := range names {
			c.Env = append(c.Env, n+"=of-"+n)
		}
		if out, errs, code := w.run(t, c); code != 0 || out != want {
			t.Errorf("--net=%s: code %d: %q %q, want %q", mode, code, out, errs, want)
		}
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
