package main

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// answerDatagrams sends back what comes on a port of UDP.
func answerDatagrams(addr string, try func(error)) {
	l, err := net.ListenPacket("udp4", addr)
	try(err)
	b := make([]byte, 2048)
	for {
		n, from, err := l.ReadFrom(b)
		try(err)
		_, err = l.WriteTo(b[:n], from)
		try(err)
	}
}

// answered sends datagrams until one comes back, or the time is up.
func (w *natWorld) answered(ns netns.NsHandle, addr string, wait time.Duration) error {
	var c net.Conn
	err := within(ns, func() (err error) {
		c, err = net.Dial("udp4", addr)
		return err
	})
	if err != nil {
		return err
	}
	defer c.Close()
	b := make([]byte, 64)
	for until := time.Now().Add(wait); time.Now().Before(until); {
		if _, err := c.Write([]byte("published")); err != nil {
			continue // the answer to the one before: nobody listens yet
		}
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		if n, err := c.Read(b); err == nil {
			if string(b[:n]) != "published" {
				return fmt.Errorf("%q came back", b[:n])
			}
			return nil
		}
	}
	return fmt.Errorf("no answer from %s", addr)
}

// checkDatagrams wants answers from a published port of UDP, and none from the port of that number of TCP.
func (w *natWorld) checkDatagrams(t *testing.T) {
	t.Helper()
	if err := w.answered(w.far, natHost+":18080", 10*time.Second); err != nil {
		t.Errorf("published port, from the other namespace: %v", err)
	}
	if err := w.echoed(w.far, natHost+":18080"); err == nil {
		t.Error("a port published for UDP answers TCP")
	}
}

func (w *natWorld) testDatagrams(t *testing.T) {
	c := w.listening(t, "--publish", "18080:8080/udp", "--publish", "127.0.0.1:18081:8080/udp")
	defer end(t, c)
	w.checkDatagrams(t)
	for _, addr := range []string{natHost + ":18080", "127.0.0.1:18080", "127.0.0.1:18081"} {
		if err := w.answered(w.host, addr, 10*time.Second); err != nil {
			t.Errorf("from the host: %v", err)
		}
	}
	if err := w.answered(w.far, natHost+":18081", time.Second); err == nil {
		t.Error("a port of 127.0.0.1 answers the other namespace")
	}
}

// testDatagrams does not ask from the host: without the way to its loopback, which is shut, pasta and slirp4netns have none
// for the answers.
func (n *userNat) testDatagrams(t *testing.T) {
	c := n.awaitListening(t, n.probed([]string{"--publish", "18080:8080/udp"}, "echo", ":8080"))
	defer end(t, c)
	n.checkDatagrams(t)
}
