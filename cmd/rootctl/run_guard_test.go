package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/runner"
)

func TestCapabilityFlags(t *testing.T) {
	for _, c := range []struct {
		name string
		g    guardFlags
		has  string
		not  string
		n    int
	}{
		{"add", guardFlags{capAdd: []string{"net_admin"}}, "CAP_NET_ADMIN", "CAP_SYS_ADMIN", 15},
		{"add twice", guardFlags{capAdd: []string{"CHOWN"}}, "CAP_CHOWN", "CAP_SYS_ADMIN", 14},
		{"drop", guardFlags{capDrop: []string{"CAP_CHOWN"}}, "CAP_KILL", "CAP_CHOWN", 13},
		{"drop all", guardFlags{capDrop: []string{"all"}}, "", "CAP_CHOWN", 0},
		{"drop all, add one", guardFlags{capDrop: []string{"ALL"}, capAdd: []string{"KILL"}}, "CAP_KILL", "CAP_CHOWN", 1},
		{"add all", guardFlags{capAdd: []string{"ALL"}}, "CAP_SYS_ADMIN", "", 41},
		{"privileged", guardFlags{privileged: true}, "CAP_SYS_ADMIN", "", 41},
	} {
		c.g.seccomp = "default"
		var s runner.Spec
		if err := c.g.apply(&s); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if s.Caps == nil || len(s.Caps) != c.n || c.has != "" && !slices.Contains(s.Caps, c.has) || c.not != "" && slices.Contains(s.Caps, c.not) {
			t.Errorf("%s: %v", c.name, s.Caps)
		}
		if (s.Seccomp == "none") != c.g.privileged {
			t.Errorf("%s: filter %s", c.name, s.Seccomp)
		}
	}
	for _, g := range []guardFlags{{capAdd: []string{"NOPE"}, seccomp: "default"}, {seccomp: "some"}, {privileged: true, seccomp: "default"}} {
		s := runner.Spec{UserNS: "host"}
		if err := g.apply(&s); err == nil || hintOf(err) == "" || strings.Contains(err.Error(), "%!") {
			t.Errorf("%+v: %v", g, err)
		}
	}
}
