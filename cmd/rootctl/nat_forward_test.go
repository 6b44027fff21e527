package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// iptables gives the host of this world rules of somebody else's.
func (w *natWorld) iptables(t *testing.T, lines ...string) {
	t.Helper()
	w.at(t, w.host, func() error {
		for _, l := range lines {
			if out, err := exec.Command("iptables-nft", strings.Fields(l)...).CombinedOutput(); err != nil {
				return fmt.Errorf("iptables-nft %s: %w: %s", l, err, out)
			}
		}
		return nil
	})
}

// testDocker: the rules of a host with Docker.
func (w *natWorld) testDocker(t *testing.T) {
	w.iptables(t, "-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER")
	before := w.natState(t)
	w.testMasquerade(t)
	w.testApt(t)
	c := w.listening(t, "--publish", "18080:8080")
	w.checkPublished(t)
	end(t, c)
	if after := w.natState(t); after != before {
		t.Errorf("Docker's rules were not put back:\n%s\nbefore:\n%s", after, before)
	}
	w.removeTables(t)
}

func (w *natWorld) removeTables(t *testing.T) {
	t.Helper()
	w.at(t, w.host, func() error { return exec.Command("nft", "flush", "ruleset").Run() })
}

// testForwardDrops: somebody lets nothing through, and there is no chain for others. pasta does without, else the run is
// refused.
func (w *natWorld) testForwardDrops(t *testing.T) {
	for _, x := range []struct{ name, program, rules string }{{"nft", "iptables-nft", "filter"}, {"legacy", "iptables-legacy", "filter (iptables-legacy)"}} {
		t.Run(x.name, func(t *testing.T) {
			if within(w.host, exec.Command(x.program, "-S").Run) != nil {
				t.Logf("%s does not work here: this kernel has no such tables", x.program)
				return
			}
			w.policy(t, x.program, "DROP")
			defer w.removeTables(t)
			defer w.policy(t, x.program, "ACCEPT")
			before := w.natState(t)
			c := w.probed([]string{"--net=nat"}, "links")
			c.Env = append(c.Env, "PATH=/nowhere")
			_, errs, code := w.run(t, c)
			if code != 125 || !strings.Contains(errs, "FORWARD of table "+x.rules) || !strings.Contains(errs, "hint: install passt") {
				t.Errorf("without pasta: code %d: %s", code, errs)
			}
			for _, users := range []string{"own", "host"} {
				out, errs, code := w.run(t, w.probed([]string{"--net=nat", "--dns", natFar, "--userns=" + users}, "get", "http://"+natArchive+"/whoami"))
				if code != 0 || out != natHost+"\n" {
					t.Errorf("through pasta, --userns=%s: code %d: %q %q", users, code, out, errs)
				}
			}
			if after := w.natState(t); after != before {
				t.Errorf("the host was changed:\n%s\nbefore:\n%s", after, before)
			}
		})
	}
}

func (w *natWorld) policy(t *testing.T, program, policy string) {
	t.Helper()
	w.at(t, w.host, func() error {
		out, err := exec.Command(program, "-P", "FORWARD", policy).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s: %w: %s", program, err, out)
		}
		return nil
	})
}
