package main

import (
	"os"
	"strings"

	"github.com/rootctl/rootctl/internal/nat"
	"github.com/rootctl/rootctl/internal/runner"
)

// hookNetwork gives commands of a build the network that their hook asks for, as run's --net does.
type hookNetwork struct{ a *app }

// proxyNames are the variables that say how to get out, passed to what has a network.
var proxyNames = [...]string{"http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"}

// env is what a command with a network needs to know beside its own variables.
func (h hookNetwork) env(own []string) (out []string) {
	if h.a == nil {
		return nil
	}
next:
	for _, n := range proxyNames {
		for _, e := range own {
			if strings.HasPrefix(e, n+"=") {
				continue next
			}
		}
		if v := h.a.getenv(n); v != "" {
			out = append(out, n+"="+v)
		}
	}
	return out
}

// prepare claims what a command's network needs; done gives it back.
func (h hookNetwork) prepare(spec *runner.Spec, keep *runner.Keep) (connect func(pid, netns int) error, done func(), err error) {
	if spec.Net != "nat" {
		return nil, func() {}, nil
	}
	var n netRun
	if err := h.a.prepareNet(spec, keep, &n); err != nil {
		return nil, nil, err
	}
	return n.connect, func() { n.close(h.a) }, nil
}

// ResolvConf is the root's while a command with a network runs.
func (e *executor) ResolvConf(network string) []byte {
	if network == "nat" && !e.chroot {
		if b := nat.ResolvConf("/"); b != nil {
			return b
		}
		if b := e.network.userModeConf(); b != nil {
			return b
		}
	}
	b, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	return b
}

// userModeConf is what look-ups go to where a program of the user's is the network, nil if there is none.
func (h hookNetwork) userModeConf() []byte {
	var n netRun
	var spec runner.Spec
	if err := h.a.prepareUserMode(&spec, &runner.Keep{}, &n); err != nil {
		return nil
	}
	defer n.close(h.a)
	return spec.ResolvConf
}
