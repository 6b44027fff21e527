package nat

import (
	"net/netip"
	"testing"
)

func TestParsePort(t *testing.T) {
	for in, want := range map[string]string{"8080:80": "0.0.0.0:8080:80/tcp", "127.0.0.1:53:5353/udp": "127.0.0.1:53:5353/udp",
		"80": "", "0:80": "", "1:70000": "", "::1:80:80": "", "1:2/sctp": ""} {
		p, err := ParsePort(in)
		if (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("ParsePort(%q) = %v, %v; want %q", in, p, err, want)
		}
	}
}

func TestFreeSubnet(t *testing.T) {
	p, err := freeSubnet(netip.Prefix{}, []netip.Prefix{netip.MustParsePrefix("10.231.0.0/20")})
	if err != nil || p.String() != "10.231.16.0/20" {
		t.Errorf("beside a route: %v, %v", p, err)
	}
	if _, err := freeSubnet(netip.MustParsePrefix("10.0.0.0/20"), []netip.Prefix{netip.MustParsePrefix("10.0.1.1/32")}); err == nil {
		t.Error("a subnet with a route in it was taken")
	}
}

func TestReachable(t *testing.T) {
	text, ok := reachable("search lan\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\n")
	if !ok || text != "search lan\nnameserver 192.0.2.53\n" {
		t.Errorf("%q, %v", text, ok)
	}
	if _, ok := reachable("nameserver 127.0.0.53\n"); ok {
		t.Error("a stub alone was taken")
	}
}
