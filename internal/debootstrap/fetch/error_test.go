package fetch

import (
	"net"
	"net/url"
	"testing"
)

// A name that does not resolve is said without the resolver's address and the dialler's words.
func TestNameErrors(t *testing.T) {
	hop := &net.OpError{Op: "proxyconnect", Net: "tcp", Err: &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "proxy", IsNotFound: true}}}
	if got := fail("http://m.example/x", netError{&url.Error{Op: "Get", Err: hop}}).Error(); got != "get http://m.example/x: proxy: no such host: proxy" {
		t.Errorf("a proxy: %q", got)
	}
	for _, c := range []struct {
		dns  net.DNSError
		want string
	}{
		{net.DNSError{Err: "no such host", Name: "m.example", Server: "10.0.0.1:53", IsNotFound: true}, "get http://m.example/x: no such host: m.example"},
		{net.DNSError{Err: "i/o timeout", Name: "m.example", Server: "10.0.0.1:53", IsTimeout: true}, "get http://m.example/x: no name server answers for m.example"},
		{net.DNSError{Err: "server misbehaving", Name: "m.example", Server: "10.0.0.1:53"}, "get http://m.example/x: look up m.example: server misbehaving"},
	} {
		err := netError{&url.Error{Op: "Get", URL: "http://u:s3cret@m.example/x", Err: &net.OpError{Op: "dial", Net: "tcp", Err: &c.dns}}}
		if got := fail("http://u:s3cret@m.example/x", err); got.Error() != c.want || !Offline(got) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
