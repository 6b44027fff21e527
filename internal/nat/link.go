package nat

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	forwardFile  = "/proc/sys/net/ipv4/ip_forward"
	bridgePrefix = "rootctl"
)

// sync makes the kernel hold what the living need: all, or nothing.
func sync(dir string, want netip.Prefix, live map[int]record) (state, error) {
	st, err := readState(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return st, fmt.Errorf("read the network's state: %w", err)
	}
	if len(live) == 0 {
		return st, putBack(dir, st)
	}
	if st.Bridge == "" {
		if st, err = choose(want); err != nil {
			return st, err
		}
		if err := writeState(dir, st); err != nil { // before the first change
			return st, fmt.Errorf("write the network's state: %w", err)
		}
	}
	if err := makeBridge(st); err != nil {
		return st, &Error{Problem: "make the bridge " + st.Bridge, Err: err, Fix: "CAP_NET_ADMIN over this network, and the kernel's bridge and veth, are needed; else --net=host"}
	}
	if err := writeRules(st, live); err != nil {
		return st, err
	}
	if b, err := os.ReadFile(forwardFile); err == nil && strings.TrimSpace(string(b)) != "1" {
		if err := os.WriteFile(forwardFile, []byte("1"), 0); err != nil {
			return st, &Error{Problem: "switch forwarding on", Err: err, Fix: "sysctl net.ipv4.ip_forward=1, or --net=host"}
		}
	}
	return st, nil
}

// choose takes a free name for the bridge and a subnet that meets no route.
func choose(want netip.Prefix) (state, error) {
	b, err := os.ReadFile(forwardFile)
	if err != nil {
		return state{}, fmt.Errorf("read ip_forward: %w", err)
	}
	st := state{Forward: strings.TrimSpace(string(b)), Subnet: want, Netns: ownNetns()}
	for n := 0; ; n++ {
		st.Bridge = bridgePrefix + strconv.Itoa(n)
		var none netlink.LinkNotFoundError
		if _, err := netlink.LinkByName(st.Bridge); errors.As(err, &none) {
			break
		}
		if n == 99 {
			return st, &Error{Problem: "no free name for a bridge", Fix: "ip link show type bridge"}
		}
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return st, fmt.Errorf("list the routes: %w", err)
	}
	var taken []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		if ip, ok := netip.AddrFromSlice(r.Dst.IP.To4()); ok {
			bits, _ := r.Dst.Mask.Size()
			if bits >= 8 || bits == 32 { // a shorter one is a default route in parts
				taken = append(taken, netip.PrefixFrom(ip, bits))
			}
		}
	}
	st.Subnet, err = freeSubnet(want, taken)
	return st, err
}

// freeSubnet is want, or one of 112 of 4,096 addresses, if no route leads there.
func freeSubnet(want netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	free := func(p netip.Prefix) bool {
		for _, t := range taken {
			if t.Overlaps(p) {
				return false
			}
		}
		return true
	}
	if want.IsValid() {
		if !want.Addr().Is4() || want.Bits() > 22 {
			return want, &Error{Problem: fmt.Sprintf("subnet %s: not one of IPv4 with at least 1,024 addresses", want), Fix: "for example 10.231.0.0/20"}
		}
		if !free(want.Masked()) {
			return want, &Error{Problem: fmt.Sprintf("subnet %s: this host has a route that meets it", want), Fix: "give another one, or none; see ip route show table all"}
		}
		return want.Masked(), nil
	}
	for second := 231; second < 238; second++ {
		for third := 0; third < 256; third += 16 {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second), byte(third), 0}), 20)
			if free(p) {
				return p, nil
			}
		}
	}
	return want, &Error{Problem: "this host has routes for every subnet that could be used", Fix: "give a free one in ROOTCTL_NAT_SUBNET"}
}

func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, 32)}
}

func makeBridge(st state) error {
	if _, err := netlink.LinkByName(st.Bridge); err == nil {
		return nil
	}
	// An address of its own: else it takes that of a container's end, and changes it under the others when that one goes.
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: st.Bridge, HardwareAddr: macOf(gateway(st.Subnet))}}
	if err := netlink.LinkAdd(br); err != nil {
		return err
	}
	set := func(key, value string) error {
		err := os.WriteFile(filepath.Join("/proc/sys/net", fmt.Sprintf(key, st.Bridge)), []byte(value), 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a kernel without IPv6
		}
		return err
	}
	// What a container sends by IPv6 must not reach the host; what the host sends to a published port of 127.0.0.1 must reach the container.
	if err := errors.Join(set("ipv6/conf/%s/disable_ipv6", "1"), set("ipv4/conf/%s/route_localnet", "1")); err != nil {
		_ = netlink.LinkDel(br)
		return err
	}
	if err := netlink.AddrAdd(br, &netlink.Addr{IPNet: ipNet(gateway(st.Subnet), st.Subnet.Bits())}); err != nil {
		_ = netlink.LinkDel(br)
		return err
	}
	return netlink.LinkSetUp(br)
}

func vethName(bridge string, n int) string {
	return "rct" + strings.TrimPrefix(bridge, bridgePrefix) + "v" + strconv.Itoa(n)
}

// plug makes eth0 of a network namespace, with its other end in the bridge, apart from the other containers'.
func plug(st state, name string, addr netip.Addr, ns int) error {
	bad := func(what string, err error) error {
		return &Error{Problem: "connect the container: " + what, Err: err, Fix: "see dmesg; --net=host does without"}
	}
	br, err := netlink.LinkByName(st.Bridge)
	if err != nil {
		return bad("find the bridge", err)
	}
	unplug(name) // of a claim that was not tidied up
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MasterIndex: br.Attrs().Index}, PeerName: "eth0", PeerHardwareAddr: macOf(addr), PeerNamespace: netlink.NsFd(ns)}
	if err := netlink.LinkAdd(v); err != nil {
		return bad("make a veth pair", err)
	}
	if err := errors.Join(lockPort(v, br, addr), netlink.LinkSetUp(v)); err != nil {
		unplug(name)
		return bad("set up "+name, err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns), unix.NETLINK_ROUTE)
	if err != nil {
		return bad("enter its network", err)
	}
	defer h.Close()
	eth, err := h.LinkByName("eth0")
	if err != nil {
		return bad("find eth0", err)
	}
	if err := h.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(addr, st.Subnet.Bits())}); err != nil {
		return bad("give it an address", err)
	}
	if err := h.LinkSetUp(eth); err != nil {
		return bad("set eth0 up", err)
	}
	return wrap(bad, "give it a route", h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: gateway(st.Subnet).AsSlice()}))
}

// macOf is the link address that goes with an address, so that rules can know one by the other.
func macOf(a netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0x72}, a.AsSlice()...)
}

// lockPort lets a container be nobody but itself: what it says of who has an address is not believed, and nothing comes
// in from it under another link address (from Linux 5.18 on; an older kernel passes over the attribute).
func lockPort(v *netlink.Veth, br netlink.Link, addr netip.Addr) error {
	const learning, flood, isolated, locked = 8, 9, 33, 39 // IFLA_BRPORT_*
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(v.Attrs().Index)
	req.AddData(msg)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	port.AddRtAttr(learning, []byte{0})
	port.AddRtAttr(flood, []byte{0})
	port.AddRtAttr(isolated, []byte{1})
	port.AddRtAttr(locked, []byte{1})
	req.AddData(port)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return err
	}
	at := netlink.Neigh{LinkIndex: v.Attrs().Index, Family: unix.AF_BRIDGE, State: netlink.NUD_NOARP, Flags: netlink.NTF_MASTER, HardwareAddr: macOf(addr)}
	if err := netlink.NeighSet(&at); err != nil {
		return err
	}
	has := netlink.Neigh{LinkIndex: br.Attrs().Index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: macOf(addr)}
	return netlink.NeighSet(&has)
}

func wrap(bad func(string, error) error, what string, err error) error {
	if err == nil {
		return nil
	}
	return bad(what, err)
}

// unplug removes a veth pair; mostly it went with the container's namespace.
func unplug(name string) {
	if l, err := netlink.LinkByName(name); err == nil {
		_ = netlink.LinkDel(l)
	}
}

// putBack leaves the host as it was before the first container.
func putBack(dir string, st state) error {
	if st.Bridge == "" {
		return nil
	}
	err := removeRules(st.Bridge)
	if l, e := netlink.LinkByName(st.Bridge); e == nil {
		err = errors.Join(err, netlink.LinkDel(l))
	}
	if st.Forward == "0" && !otherBridge() {
		err = errors.Join(err, os.WriteFile(forwardFile, []byte("0"), 0))
	}
	if err != nil {
		return &Error{Problem: "put the host's network back", Err: err, Fix: "the next run with --net=nat tries again"}
	}
	return os.Remove(filepath.Join(dir, "state.json"))
}

// otherBridge: a rootctl with another /run has containers here.
func otherBridge() bool {
	list, err := netlink.LinkList()
	if err != nil {
		return false
	}
	for _, l := range list {
		n := strings.TrimPrefix(l.Attrs().Name, bridgePrefix)
		if _, err := strconv.Atoi(n); err == nil && n != l.Attrs().Name && l.Type() == "bridge" {
			return true
		}
	}
	return false
}
