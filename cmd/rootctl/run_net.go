package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/rootctl/rootctl/internal/nat"
	"github.com/rootctl/rootctl/internal/runner"
)

// netDir is where containers of root claim addresses.
const netDir = "/run/rootctl/net"

// sweepName is argv[0] of the process that tidies the network for a rootctl that was killed.
const sweepName = "rootctl-net"

// netFlags are the flags of run for the network beside --net.
type netFlags struct {
	publish []string
	dns     []string
}

func (n *netFlags) register(f *pflag.FlagSet) {
	f.StringArrayVar(&n.publish, "publish", nil, "with --net=nat, a port of the host that leads inside: `[IP:]HOSTPORT:PORT[/tcp|udp]`; may be repeated")
	f.StringArrayVar(&n.dns, "dns", nil, "`IP` of a name server for the container instead of the host's; may be repeated")
}

func (n *netFlags) apply(s *runner.Spec) error {
	if s.Net != "nat" && len(n.publish) > 0 {
		return withHint(&flagError{errors.New("--publish needs a network of its own to publish from")}, "add --net=nat")
	}
	for _, p := range n.publish {
		if _, err := nat.ParsePort(p); err != nil {
			return &flagError{err}
		}
	}
	s.Publish = n.publish
	if len(n.dns) > 0 && s.Net == "none" {
		return withHint(&flagError{errors.New("--dns needs a network")}, "add --net=host or --net=nat")
	}
	for _, d := range n.dns {
		ip, err := netip.ParseAddr(d)
		if err != nil || strings.ContainsFunc(ip.Zone(), notPlain) || ip.IsUnspecified() || ip.IsMulticast() {
			return withHint(&flagError{fmt.Errorf("--dns %s is no address of a server", oneLine(d))}, "give an IP address: --dns 192.0.2.53")
		}
		s.ResolvConf = fmt.Appendf(s.ResolvConf, "nameserver %s\n", ip)
	}
	return nil
}

// notPlain says what is in no interface's name: a parsed address's zone may be any text, further lines too.
func notPlain(r rune) bool { return r <= ' ' || r > '~' }

// netRun is the network of one run.
type netRun struct {
	claim *nat.Claim    // root's
	user  *nat.UserMode // or a user's
	ports []nat.Port
}

// prepareNet claims what must outlive this process, before the keeper starts.
func (a *app) prepareNet(s *runner.Spec, keep *runner.Keep, n *netRun) error {
	if s.ResolvConf == nil {
		s.ResolvConf = nat.ResolvConf("/")
	}
	for _, p := range s.Publish {
		port, err := nat.ParsePort(p)
		if err != nil {
			return err
		}
		n.ports = append(n.ports, port)
	}
	if a.inside != nil {
		return a.prepareUserMode(s, keep, n)
	}
	var blocked *nat.Blocked
	if err := nat.CheckForward(); errors.As(err, &blocked) {
		if a.prepareUserMode(s, keep, n) != nil {
			return err
		}
		n.user.Root = true
		a.say("note: %v: this container's network goes through %s", blocked, n.user.Program())
		return nil
	}
	var want netip.Prefix
	if v := a.getenv("ROOTCTL_NAT_SUBNET"); v != "" {
		p, err := netip.ParsePrefix(v)
		if err != nil {
			return withHint(fmt.Errorf("ROOTCTL_NAT_SUBNET: %w", err), "for example 10.231.0.0/20")
		}
		want = p
	}
	dir, err := nat.Dir(netDir)
	if err != nil {
		return err
	}
	if n.claim, err = nat.NewClaim(dir, want); err != nil {
		return err
	}
	keep.Locks = append(keep.Locks, n.claim.File)
	keep.After = []string{sweepName, dir, strconv.Itoa(n.claim.Number())}
	return nil
}

// prepareUserMode finds the program for a container without rights over the host's network.
func (a *app) prepareUserMode(s *runner.Spec, keep *runner.Keep, n *netRun) (err error) {
	if n.user, err = nat.FindUserMode(filepath.SplitList(a.getenv("PATH"))); err != nil {
		return err
	}
	if s.ResolvConf == nil {
		s.ResolvConf = n.user.ResolvConf()
	}
	keep.Locks = append(keep.Locks, n.user.Lifeline)
	return nil
}

// connect is done while the container waits.
func (n *netRun) connect(pid, netns int) error {
	if n.user != nil {
		return n.user.Connect(pid, netns, n.ports)
	}
	return n.claim.Connect(netns, n.ports)
}

func (n *netRun) close(a *app) {
	if n.user != nil {
		n.user.Close()
		return
	}
	if err := n.claim.Close(); err != nil {
		a.warn("%v", err)
	}
}

// tidyNet is done by the verbs that also sweep the records of containers.
func (a *app) tidyNet() {
	if os.Geteuid() != 0 || a.inside != nil {
		return // the network of an ordinary user's container ends with it
	}
	if err := nat.Tidy(netDir); err != nil {
		a.warn("%v", err)
	}
}

// sweepNet is the keeper's last step after a killed rootctl. Nobody is left to tell of an error: the next run tries again.
func sweepNet(args []string) bool {
	if len(args) != 3 || args[0] != sweepName {
		return false
	}
	if n, err := strconv.Atoi(args[2]); err == nil && filepath.IsAbs(args[1]) {
		_ = nat.Sweep(args[1], n)
	}
	return true
}
