package nat

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Port is a port of the host that leads to one of a container.
type Port struct {
	IP    netip.Addr `json:"ip"` // 0.0.0.0: every address of the host
	Host  uint16     `json:"host"`
	Inner uint16     `json:"inner"`
	Proto string     `json:"proto"` // tcp or udp
}

func (p Port) String() string {
	return fmt.Sprintf("%s:%d:%d/%s", p.IP, p.Host, p.Inner, p.Proto)
}

func (p Port) meets(q Port) bool {
	return p.Host == q.Host && p.Proto == q.Proto && (p.IP == q.IP || p.IP.IsUnspecified() || q.IP.IsUnspecified())
}

// ParsePort reads [IP:]HOSTPORT:PORT[/tcp|udp].
func ParsePort(s string) (Port, error) {
	bad := func(why string) (Port, error) {
		return Port{}, &Error{Problem: fmt.Sprintf("publish %s: %s", s, why), Fix: "--publish [IP:]HOSTPORT:PORT[/tcp|udp], for example --publish 127.0.0.1:8080:80"}
	}
	rest, proto, _ := strings.Cut(s, "/")
	if proto == "" {
		proto = "tcp"
	}
	if proto != "tcp" && proto != "udp" {
		return bad("the protocol is neither tcp nor udp")
	}
	parts := strings.Split(rest, ":")
	p := Port{IP: netip.IPv4Unspecified(), Proto: proto}
	switch len(parts) {
	case 3:
		ip, err := netip.ParseAddr(parts[0])
		if err != nil || !ip.Is4() {
			return bad("the address is not one of IPv4")
		}
		p.IP, parts = ip, parts[1:]
	case 2:
	default:
		return bad("two ports are needed")
	}
	for i, to := range []*uint16{&p.Host, &p.Inner} {
		n, err := strconv.ParseUint(parts[i], 10, 16)
		if err != nil || n == 0 {
			return bad("a port is a number from 1 to 65535")
		}
		*to = uint16(n)
	}
	return p, nil
}
