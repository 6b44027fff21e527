package main

import (
	"testing"

	"github.com/rootctl/rootctl/internal/runner"
)

// TestDNSFlag: only what can be a server's address comes into resolv.conf, and no further line with it.
func TestDNSFlag(t *testing.T) {
	for dns, ok := range map[string]bool{"192.0.2.53": true, "::1": true, "2001:db8::1": true, "": false, "x": false, "0.0.0.0": false,
		"::": false, "224.0.0.1": false, "ff02::1": false, "fe80::1%eth0": true, "fe80::1%x\noptions debug": false} {
		s := runner.Spec{Net: "nat"}
		n := netFlags{dns: []string{dns}}
		if err := n.apply(&s); (err == nil) != ok || ok != (len(s.ResolvConf) > 0) {
			t.Errorf("%q: %v, %q", dns, err, s.ResolvConf)
		}
	}
}
