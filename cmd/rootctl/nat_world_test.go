package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/nat"
)

// Addresses of a natWorld: documentation's own, so that nothing real is ever asked.
const (
	natHost    = "192.0.2.1"
	natFar     = "192.0.2.2"
	natArchive = "archive.test" // what the far name server calls natFar
)

// A natWorld is two network namespaces of the test, beside this machine's: one plays the host of the containers, the other
// is what lies beyond, with a name server and an archive. The far one has no route to any container.
//
//	container --- host 192.0.2.1 ---------- 192.0.2.2 far: DNS 53, HTTP 80
type natWorld struct {
	*fixture
	cache     string
	host, far netns.NsHandle
	tun       os.FileMode // not 0: the host has mounts of its own, with a /dev/net/tun of this mode

	mu    sync.Mutex
	peers map[string]bool // whom the archive has seen
}

func newNatWorld(t *testing.T, f *fixture) *natWorld {
	t.Helper()
	w := &natWorld{fixture: f, cache: filepath.Join(t.TempDir(), "cache"), peers: map[string]bool{}}
	for _, h := range []*netns.NsHandle{&w.host, &w.far} {
		*h = newNetns(t)
	}
	w.at(t, w.far, func() error {
		v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up0"}, PeerName: "up0", PeerNamespace: netlink.NsFd(w.host)}
		return errors.Join(netlink.LinkAdd(v), address("up0", natFar+"/24"))
	})
	w.at(t, w.host, func() error {
		err := errors.Join(address("up0", natHost+"/24"), address("lo", "127.0.0.2/8"), os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0))
		return errors.Join(err, netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(natFar)}))
	})
	w.at(t, w.far, w.serve(t))
	return w
}

func address(link, addr string) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(addr)
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(l, a), netlink.LinkSetUp(l))
}

func newNetns(t *testing.T) netns.NsHandle {
	t.Helper()
	type made struct {
		ns  netns.NsHandle
		err error
	}
	ch := make(chan made)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		ns, err := netns.New()
		ch <- made{ns, err}
	}()
	m := <-ch
	if m.err != nil {
		t.Fatal(m.err)
	}
	t.Cleanup(func() { m.ns.Close() })
	return m.ns
}

// at does something on a thread in a network namespace. Sockets and processes made there stay there.
func (w *natWorld) at(t *testing.T, ns netns.NsHandle, f func() error) {
	t.Helper()
	if err := within(ns, f); err != nil {
		t.Fatal(err)
	}
}

func within(ns netns.NsHandle, f func() error) error {
	ch := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			ch <- err
			return
		}
		ch <- f()
	}()
	return <-ch
}

// serve starts the far servers.
func (w *natWorld) serve(t *testing.T) func() error {
	return func() error {
		web, err := net.Listen("tcp4", natFar+":80")
		if err != nil {
			return err
		}
		names, err := net.ListenPacket("udp4", natFar+":53")
		if err != nil {
			return err
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			peer, _, _ := net.SplitHostPort(r.RemoteAddr)
			w.mu.Lock()
			w.peers[peer] = true
			w.mu.Unlock()
			if r.URL.Path == "/whoami" {
				fmt.Fprintln(rw, peer)
				return
			}
			w.server.ServeHTTP(rw, r)
		})}
		var done sync.WaitGroup
		done.Go(func() { srv.Serve(web) })
		done.Go(func() { answerNames(names) })
		t.Cleanup(func() { srv.Close(); names.Close(); done.Wait() })
		return nil
	}
}

// answerNames is a name server that knows natArchive.
func answerNames(c net.PacketConn) {
	b := make([]byte, 512)
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return
		}
		q := b[:n]
		if n < 17 {
			continue
		}
		var name []string
		i := 12
		for i < n && q[i] != 0 && i+1+int(q[i]) < n {
			name = append(name, string(q[i+1:i+1+int(q[i])]))
			i += 1 + int(q[i])
		}
		if i+5 > n {
			continue
		}
		kind := binary.BigEndian.Uint16(q[i+1:])
		r := append([]byte{q[0], q[1], 0x84, 0, 0, 1, 0, 0, 0, 0, 0, 0}, q[12:i+5]...)
		switch {
		case strings.Join(name, ".") != natArchive:
			r[3] = 3 // no such name
		case kind == 1:
			r[7] = 1
			r = append(r, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4)
			r = append(r, net.ParseIP(natFar).To4()...)
		}
		if _, err := c.WriteTo(r, from); err != nil {
			return
		}
	}
}

// start starts rootctl on the host of this world.
func (w *natWorld) start(t *testing.T, c *exec.Cmd) *exec.Cmd {
	t.Helper()
	w.at(t, w.host, func() error {
		if w.tun != 0 {
			if err := ownTun(w.tun); err != nil {
				return err
			}
		}
		return c.Start()
	})
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c
}

// run runs a command there to its end.
func (w *natWorld) run(t *testing.T, c *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	w.start(t, c)
	var exit *exec.ExitError
	if err := c.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// ownTun gives this thread mounts of its own, with a /dev/net/tun of a mode.
func ownTun(mode os.FileMode) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("tun", "/mnt", "tmpfs", 0, "mode=755"); err != nil {
		return err
	}
	if err := unix.Mknod("/mnt/tun", unix.S_IFCHR|0o600, int(unix.Mkdev(10, 200))); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod("/mnt/tun", mode), os.MkdirAll("/dev/net", 0o755)); err != nil {
		return err
	}
	return unix.Mount("/mnt", "/dev/net", "", unix.MS_BIND, "")
}

// natState is all of the host's network that a container of nat may change for as long as it runs.
func (w *natWorld) natState(t *testing.T) string {
	t.Helper()
	var s strings.Builder
	w.at(t, w.host, func() error {
		rules, err := exec.Command("nft", "-s", "list", "ruleset").CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, rules)
		}
		forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
		if err != nil {
			return err
		}
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		dir, err := nat.Dir(netDir)
		if err != nil {
			return err
		}
		_, missing := os.Stat(dir)
		fmt.Fprintf(&s, "%sip_forward %sclaims: %v\n", rules, forward, missing == nil)
		for _, l := range links {
			fmt.Fprintln(&s, "link", l.Attrs().Name)
		}
		return nil
	})
	return s.String()
}

// echoed sends data to an address from a namespace and wants it back.
func (w *natWorld) echoed(ns netns.NsHandle, addr string) error {
	var c net.Conn
	err := within(ns, func() (err error) {
		c, err = net.DialTimeout("tcp4", addr, 3*time.Second)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	sent := strings.Repeat("published ", 5_000) // pasta of 2023 was seen to stall once with a megabyte there and back
	go func() {
		io.WriteString(c, sent)
		c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if string(got) != sent {
		return fmt.Errorf("sent %d bytes, %d came back", len(sent), len(got))
	}
	return nil
}

// probeNet is what this binary does with the network inside of a container.
func probeNet(args []string) {
	try := func(err error) {
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	switch args[0] {
	case "get":
		r, err := (&http.Client{Timeout: 5 * time.Second}).Get(args[1])
		try(err)
		_, err = io.Copy(os.Stdout, r.Body)
		try(err)
	case "dial":
		c, err := net.DialTimeout("tcp4", args[1], 500*time.Millisecond)
		try(err)
		c.Close()
		fmt.Println("open")
	case "sendto": // as a static program with musl's resolver asks: no connect, no C library of the root
		conf, err := os.ReadFile("/etc/resolv.conf")
		try(err)
		_, server, _ := strings.Cut(string(conf), "nameserver ")
		to, err := netip.ParseAddr(strings.Fields(server)[0])
		try(err)
		c, err := net.ListenPacket("udp4", "0.0.0.0:0")
		try(err)
		_, err = c.WriteTo([]byte("question"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 53)))
		try(err)
	case "links":
		links, err := net.Interfaces()
		try(err)
		for _, l := range links {
			addrs, _ := l.Addrs()
			fmt.Println(l.Name, addrs)
		}
	case "forge":
		try(forge(args[1]))
	case "echo":
		l, err := net.Listen("tcp4", args[1])
		try(err)
		go answerDatagrams(args[1], try)
		fmt.Println("listening")
		for {
			c, err := l.Accept()
			try(err)
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}
}
