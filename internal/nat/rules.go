package nat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Blocked is a chain of somebody else's that lets nothing be forwarded, and that no rule of ours can change.
type Blocked struct{ Table, Chain string }

func (e *Blocked) Error() string {
	return fmt.Sprintf("chain %s of table %s forwards nothing (policy drop), and an accept elsewhere does not change that", e.Chain, e.Table)
}

// Hint is the next step for the user.
func (e *Blocked) Hint() string {
	return "install passt or slirp4netns, which do without; or let the chain accept what comes from and goes to rootctl0; or --net=host"
}

// CheckForward returns a *Blocked if the host forwards nothing and no rule of ours could change that.
func CheckForward() error {
	if err := legacyForward(); err != nil {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return rulesError(err)
	}
	_, err = dockerChain(c)
	return err
}

// legacyForward looks at the rules that nftables does not show, where the kernel has some.
func legacyForward() error {
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
		return nil // no such tables here
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"} {
		out, err := exec.Command(dir+"/iptables-legacy", "-S", "FORWARD").Output()
		if err == nil {
			if strings.HasPrefix(string(out), "-P FORWARD DROP") {
				return &Blocked{"filter (iptables-legacy)", "FORWARD"}
			}
			return nil
		}
	}
	return nil
}

func ifname(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	b := make([]byte, 16)
	copy(b, name)
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: b}}
}

const (
	source      = 12 // offset in the IP header
	destination = 16
)

func address(offset uint32, op expr.CmpOp, p netip.Prefix) []expr.Any {
	mask := make([]byte, 4)
	binary.BigEndian.PutUint32(mask, ^uint32(0)<<(32-p.Bits()))
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

// tracked matches connections with one of the bits.
func tracked(key expr.CtKey, bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }

// published matches what is sent to a port and turns it to the container.
func published(p Port, to netip.Addr) []expr.Any {
	var e []expr.Any
	if p.IP.IsUnspecified() {
		e = append(e, &expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)})
	} else {
		e = address(destination, expr.CmpOpEq, netip.PrefixFrom(p.IP, 32))
	}
	proto := byte(unix.IPPROTO_TCP)
	if p.Proto == "udp" {
		proto = unix.IPPROTO_UDP
	}
	return append(e,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, p.Host)},
		&expr.Immediate{Register: 1, Data: to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binary.BigEndian.AppendUint16(nil, p.Inner)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
	)
}

func rulesError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Problem: "write the rules of the network", Err: err, Fix: "the kernel's nf_tables with NAT is needed (modprobe nft_masq nft_fib_ipv4); else --net=host"}
}

// writeRules replaces our table, in one transaction, by what the living need.
func writeRules(st state, live map[int]record) error {
	c, err := nftables.New()
	if err != nil {
		return rulesError(err)
	}
	if err := openDocker(c, st.Bridge); err != nil {
		return err
	}
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: st.Bridge}
	c.AddTable(t) // so that it can be deleted
	c.DelTable(t)
	c.AddTable(t)
	chain := func(name string, typ nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) func(...[]expr.Any) {
		ch := c.AddChain(&nftables.Chain{Name: name, Table: t, Type: typ, Hooknum: hook, Priority: prio})
		return func(parts ...[]expr.Any) {
			c.AddRule(&nftables.Rule{Table: t, Chain: ch, Exprs: slices.Concat(parts...)})
		}
	}
	in := func(op expr.CmpOp) []expr.Any { return ifname(expr.MetaKeyIIFNAME, op, st.Bridge) }
	out := func(op expr.CmpOp) []expr.Any { return ifname(expr.MetaKeyOIFNAME, op, st.Bridge) }
	loop := netip.MustParsePrefix("127.0.0.0/8")
	drop, accept := verdict(expr.VerdictDrop), verdict(expr.VerdictAccept)
	eq, neq := expr.CmpOpEq, expr.CmpOpNeq

	raw := chain("raw", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	raw(in(eq), address(destination, eq, loop), drop)
	own, err := ownAddresses(c, t, st, live)
	if err != nil {
		return rulesError(err)
	}
	raw(in(eq), own, drop)
	fwd := chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	fwd(in(eq), out(eq), drop)
	fwd(out(eq), tracked(expr.CtKeySTATE, 2|4), accept) // established, related
	fwd(out(eq), tracked(expr.CtKeySTATUS, 1<<5), accept)
	fwd(out(eq), drop)
	pre := chain("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
	local := chain("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
	for n, r := range live {
		for _, p := range r.Ports {
			to := addrOf(st.Subnet, n)
			if !p.IP.IsLoopback() { // else a neighbour could send to 127.0.0.1, which is routed only once it is turned
				pre(in(neq), published(p, to))
			}
			local(published(p, to))
		}
	}
	post := chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	post(address(source, eq, st.Subnet), out(neq), []expr.Any{&expr.Masq{}})
	post(address(source, eq, loop), out(eq), []expr.Any{&expr.Masq{}})
	return rulesError(c.Flush())
}

// ownAddresses matches what does not come from the address that goes with a container's link address.
func ownAddresses(c *nftables.Conn, t *nftables.Table, st state, live map[int]record) ([]expr.Any, error) {
	typ, err := nftables.ConcatSetType(nftables.TypeEtherAddr, nftables.TypeIPAddr)
	if err != nil {
		return nil, err
	}
	set := &nftables.Set{Table: t, Anonymous: true, Constant: true, Concatenation: true, KeyType: typ}
	var pairs []nftables.SetElement
	for n := range live {
		a := addrOf(st.Subnet, n)
		pairs = append(pairs, nftables.SetElement{Key: slices.Concat(macOf(a), []byte{0, 0}, a.AsSlice())}) // parts are of whole words
	}
	if err := c.AddSet(set, pairs); err != nil {
		return nil, err
	}
	const word0, word2 = 8, 10 // NFT_REG32_00 and _02
	return []expr.Any{
		&expr.Payload{DestRegister: word0, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6},
		&expr.Payload{DestRegister: word2, Base: expr.PayloadBaseNetworkHeader, Offset: source, Len: 4},
		&expr.Lookup{SourceRegister: word0, SetID: set.ID, SetName: set.Name, Invert: true},
	}, nil
}

// mark is a comment as nft writes it.
func mark(bridge string) []byte {
	return append([]byte{0, byte(len(bridge) + 1)}, append([]byte(bridge), 0)...)
}

// openDocker adds our two rules to DOCKER-USER where iptables' FORWARD drops by policy, unless they are there.
func openDocker(c *nftables.Conn, bridge string) error {
	user, err := dockerChain(c)
	if err != nil || user == nil {
		return err
	}
	rules, err := c.GetRules(user.Table, user)
	if err != nil {
		return rulesError(err)
	}
	for _, r := range rules {
		if bytes.Equal(r.UserData, mark(bridge)) {
			return nil
		}
	}
	for _, key := range []expr.MetaKey{expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME} {
		c.InsertRule(&nftables.Rule{Table: user.Table, Chain: user, UserData: mark(bridge),
			Exprs: append([]expr.Any{
				&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(bridge), 0)},
				&expr.Counter{},
			}, verdict(expr.VerdictAccept)...)})
	}
	return rulesError(c.Flush())
}

// dockerChain is DOCKER-USER where it is needed, nil where nothing stands in the way.
func dockerChain(c *nftables.Conn) (*nftables.Chain, error) {
	chains, err := c.ListChains()
	if err != nil {
		return nil, rulesError(err)
	}
	var user *nftables.Chain
	var blocked *Blocked
	filter := false
	for _, ch := range chains {
		if ch.Table.Family != nftables.TableFamilyIPv4 && ch.Table.Family != nftables.TableFamilyINet {
			continue
		}
		if ch.Table.Name == "filter" && ch.Name == "DOCKER-USER" && ch.Table.Family == nftables.TableFamilyIPv4 {
			user = ch
		}
		if ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop {
			continue
		}
		if ch.Table.Name == "filter" && ch.Name == "FORWARD" && ch.Table.Family == nftables.TableFamilyIPv4 {
			filter = true
			continue
		}
		blocked = &Blocked{ch.Table.Name, ch.Name}
	}
	if filter && user == nil {
		blocked = &Blocked{"filter", "FORWARD"}
	}
	if blocked != nil {
		return nil, blocked
	}
	if !filter {
		return nil, nil
	}
	return user, nil
}

// removeRules takes our table away, and our rules in the table of others.
func removeRules(bridge string) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return err
	}
	for _, ch := range chains {
		if ch.Name != "DOCKER-USER" {
			continue
		}
		rules, e := c.GetRules(ch.Table, ch)
		err = errors.Join(err, e)
		for _, r := range rules {
			if bytes.Equal(r.UserData, mark(bridge)) {
				err = errors.Join(err, c.DelRule(r))
			}
		}
	}
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: bridge}
	c.AddTable(t)
	c.DelTable(t)
	return errors.Join(err, c.Flush())
}
