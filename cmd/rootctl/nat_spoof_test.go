package main

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// sum is the checksum of IP and TCP.
func sum(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// frame is an Ethernet frame with an IPv4 packet.
func frame(to, from net.HardwareAddr, src, dst netip.Addr, proto byte, payload []byte) []byte {
	ip := append([]byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0}, slices.Concat(src.AsSlice(), dst.AsSlice())...)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(payload)))
	binary.BigEndian.PutUint16(ip[10:], sum(ip))
	return slices.Concat(to, from, []byte{8, 0}, ip, payload)
}

// synTo is a frame that asks for a TCP connection.
func synTo(to, from net.HardwareAddr, src, dst netip.Addr, port uint16) []byte {
	tcp := binary.BigEndian.AppendUint16([]byte{0x80, 1}, port) // from port 32769
	tcp = append(tcp, 0, 0, 0, 7, 0, 0, 0, 0, 5<<4, 2, 255, 255, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(tcp[16:], sum(slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, unix.IPPROTO_TCP, 0, byte(len(tcp))}, tcp)))
	return frame(to, from, src, dst, unix.IPPROTO_TCP, tcp)
}

// packets opens a link for whole frames.
func packets(link *net.Interface) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // all kinds, in the network's order
	if err != nil {
		return -1, err
	}
	tv := unix.NsecToTimeval(int64(20 * time.Millisecond))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: link.Index})
}

// accepts says whether a SYN to an address, sent straight to the host by a neighbour, is answered with SYN and ACK.
func (w *natWorld) accepts(t *testing.T, dst string, port uint16, wait time.Duration) (yes bool) {
	t.Helper()
	var host net.HardwareAddr
	w.at(t, w.host, func() error {
		l, err := netlink.LinkByName("up0")
		if err == nil {
			host = l.Attrs().HardwareAddr
		}
		return err
	})
	w.at(t, w.far, func() error {
		link, err := net.InterfaceByName("up0")
		if err != nil {
			return err
		}
		fd, err := packets(link)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if _, err := unix.Write(fd, synTo(host, link.HardwareAddr, netip.MustParseAddr(natFar), netip.MustParseAddr(dst), port)); err != nil {
			return err
		}
		b := make([]byte, 2048)
		for until := time.Now().Add(wait); !yes && time.Now().Before(until); {
			n, _ := unix.Read(fd, b)
			yes = n > 47 && slices.Equal(b[6:12], host) && b[23] == unix.IPPROTO_TCP && binary.BigEndian.Uint16(b[34:]) == port && b[47]&0x12 == 0x12
		}
		return nil
	})
	return yes
}

// testNeighbour: a port of 127.0.0.1 is not open to who sends packets for 127.0.0.1 over the wire.
func (w *natWorld) testNeighbour(t *testing.T) {
	c := w.listening(t, "--publish", "18080:8080", "--publish", "127.0.0.1:18081:8080")
	defer end(t, c)
	if !w.accepts(t, natHost, 18080, 10*time.Second) {
		t.Fatal("a published port does not answer")
	}
	if w.accepts(t, "127.0.0.1", 18081, time.Second) {
		t.Error("a port of 127.0.0.1 answers a neighbour")
	}
}

// testForged: a container that claims another's address gets nothing of its traffic, and sends nothing in its name.
func (w *natWorld) testForged(t *testing.T) {
	c := w.listening(t, "--publish", "18080:8080")
	defer end(t, c)
	var seen net.PacketConn
	victim := ""
	w.at(t, w.far, func() (err error) {
		seen, err = net.ListenPacket("udp4", natFar+":9999")
		return err
	})
	defer seen.Close()
	w.at(t, w.host, func() error { // what is said of who has an address is believed at once
		return os.WriteFile("/proc/sys/net/ipv4/neigh/rootctl0/locktime", []byte("0"), 0)
	})
	out, _, _ := w.run(t, w.probed([]string{"--net=nat"}, "links"))
	if m := regexp.MustCompile(`(10\.\d+\.\d+)\.(\d+)`).FindStringSubmatch(out); m != nil {
		victim = m[1] + ".2"
	} else {
		t.Fatalf("no address: %q", out)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if out, errs, code := w.run(t, w.probed([]string{"--net=nat"}, "forge", victim)); code != 0 {
			t.Errorf("forge: code %d: %s%s", code, out, errs)
		}
	}()
	b := make([]byte, 64)
	for own := 0; own < 20 && !t.Failed(); own++ { // of each forged one there is an honest one
		if err := seen.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Error(err)
		}
		n, _, err := seen.ReadFrom(b)
		if err != nil || string(b[:n]) != "honest" {
			t.Errorf("after %d honest packets: %q, %v", own, b[:n], err)
		}
		if err := w.echoed(w.host, "127.0.0.1:18080"); err != nil {
			t.Errorf("the claimed container does not answer: %v", err)
		}
	}
	<-done
}

// forge claims another container's address in each way, with its own link address and with the other's.
func forge(victim string) error {
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	addrs, err := link.Addrs()
	if err != nil {
		return err
	}
	own := netip.MustParsePrefix(addrs[0].String())
	gw, him, far := own.Masked().Addr().Next(), netip.MustParseAddr(victim), netip.MustParseAddr(natFar)
	mac := func(a netip.Addr) net.HardwareAddr { return append(net.HardwareAddr{2, 0x72}, a.AsSlice()...) }
	fd, err := packets(link)
	if err != nil {
		return err
	}
	everybody := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	udp := func(text string) []byte { return append([]byte{0, 99, 39, 15, 0, byte(8 + len(text)), 0, 0}, text...) } // to port 9999
	for range 30 {
		for _, from := range []net.HardwareAddr{mac(him), link.HardwareAddr} {
			arp := slices.Concat(everybody, from, []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, link.HardwareAddr, him.AsSlice(), make([]byte, 6), gw.AsSlice())
			for _, f := range [][]byte{arp, frame(mac(gw), from, him, far, unix.IPPROTO_UDP, udp("forged"))} {
				if _, err := unix.Write(fd, f); err != nil {
					return err
				}
			}
		}
		if _, err := unix.Write(fd, frame(mac(gw), link.HardwareAddr, own.Addr(), far, unix.IPPROTO_UDP, udp("honest"))); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}
