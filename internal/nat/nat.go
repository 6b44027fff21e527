// Package nat gives containers a network behind this host's addresses.
//
// For root it is a bridge, a veth pair a container and a table of nftables. What the kernel holds is always made anew,
// in one transaction, from the claims that are alive: a claim is a file N held by flock, and stands for an address. So
// whoever comes next repairs what a killed process left, and the last one to go puts everything back.
//
//	DIR/lock         held for every change
//	DIR/state.json   bridge, subnet, and what was there before
//	DIR/N            a container's claim, with its published ports
package nat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxContainers is what a bridge of Linux can hold, less a few.
const maxContainers = 1000

// Error is a network that cannot be made here.
type Error struct {
	Problem string
	Fix     string
	Err     error
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Problem
	}
	return e.Problem + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Hint is the next step for the user.
func (e *Error) Hint() string { return e.Fix }

// Claim is a container's place in the network. Whoever holds File keeps it.
type Claim struct {
	File *os.File
	dir  string
	n    int
	want netip.Prefix
}

// state is what is needed to put things back.
type state struct {
	Bridge  string       `json:"bridge"`
	Subnet  netip.Prefix `json:"subnet"`
	Forward string       `json:"forward"` // ip_forward before
	Netns   uint64       `json:"netns"`   // inode of the network namespace
}

type record struct {
	Connected bool   `json:"connected"`
	Ports     []Port `json:"ports,omitempty"`
}

// Dir is the folder below base for the network namespace that this process is in.
func Dir(base string) (string, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("find the network namespace: %w", err)
	}
	defer unix.Close(fd)
	if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil { // Linux 5.14
		return filepath.Join(base, "c"+strconv.FormatUint(cookie, 10)), nil
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		return "", fmt.Errorf("find the network namespace: %w", err)
	}
	return filepath.Join(base, "i"+strconv.FormatUint(st.Ino, 10)), nil
}

// NewClaim takes a place. want is the subnet if a network has to be made, the zero Prefix one that meets no route.
func NewClaim(dir string, want netip.Prefix) (*Claim, error) {
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	for n := range maxContainers {
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(n)), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, fmt.Errorf("claim an address: %w", err)
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			if err := f.Truncate(0); err != nil {
				f.Close()
				return nil, fmt.Errorf("claim an address: %w", err)
			}
			return &Claim{File: f, dir: dir, n: n, want: want}, nil
		}
		f.Close()
	}
	return nil, &Error{Problem: fmt.Sprintf("claim an address: %d containers have one", maxContainers), Fix: "end some containers"}
}

// Connect joins the network namespace to the network and publishes ports.
func (c *Claim) Connect(netns int, ports []Port) error {
	unlock, err := lockDir(c.dir)
	if err != nil {
		return err
	}
	defer unlock()
	live, err := c.checkPorts(ports)
	if err != nil {
		return err
	}
	st, err := sync(c.dir, c.want, live)
	if err != nil {
		return err
	}
	addr := addrOf(st.Subnet, c.n)
	if err := plug(st, vethName(st.Bridge, c.n), addr, netns); err != nil {
		return err
	}
	if len(ports) == 0 {
		return nil // the rules are those of all
	}
	b, err := json.Marshal(record{Connected: true, Ports: ports})
	if err != nil {
		return err
	}
	if _, err := c.File.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write the claim: %w", err)
	}
	live[c.n] = record{Connected: true, Ports: ports}
	return writeRules(st, live)
}

func (c *Claim) checkPorts(ports []Port) (map[int]record, error) {
	live, err := alive(c.dir, -1)
	if err != nil {
		return nil, err
	}
	for i, p := range ports {
		for _, q := range ports[:i] {
			if p.meets(q) {
				return nil, &Error{Problem: fmt.Sprintf("publish %s: it is given twice", p), Fix: "leave one out"}
			}
		}
		for n, r := range live {
			for _, q := range r.Ports {
				if n != c.n && p.meets(q) {
					return nil, &Error{Problem: fmt.Sprintf("publish %s: another container has the port", p), Fix: "take another port of the host"}
				}
			}
		}
	}
	return live, nil
}

// Close gives the place back, and puts the host's network back if it was the last.
func (c *Claim) Close() error {
	unlock, err := lockDir(c.dir)
	if err != nil {
		return err
	}
	defer unlock()
	live, err := alive(c.dir, c.n)
	if err == nil {
		_, err = sync(c.dir, c.want, live)
	}
	_ = os.Remove(c.File.Name())
	if err == nil && len(live) == 0 {
		leave(c.dir)
	}
	return errors.Join(err, c.File.Close())
}

// leave removes an empty folder, whose lock is held.
func leave(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "lock" {
		return
	}
	_ = os.Remove(filepath.Join(dir, "lock"))
	_ = os.Remove(dir) // fails if somebody has made a new lock in it, who goes on with it
}

// Number is what Sweep calls except.
func (c *Claim) Number() int { return c.n }

// lockDir makes the folder if need be and locks it. A lock that was removed while we waited for it is none.
func lockDir(dir string) (func(), error) {
	bad := func(err error) (func(), error) { return nil, fmt.Errorf("lock the network: %w", err) }
	name := filepath.Join(dir, "lock")
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return bad(err)
		}
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the folder went meanwhile
		}
		if err != nil {
			return bad(err)
		}
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			f.Close()
			return bad(err)
		}
		held, err := f.Stat()
		if err != nil {
			f.Close()
			return bad(err)
		}
		if now, err := os.Lstat(name); err == nil && os.SameFile(held, now) {
			return func() { f.Close() }, nil
		}
		f.Close()
	}
}

// alive reads the claims that somebody holds, but for one, and removes what the others left.
func alive(dir string, except int) (map[int]record, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the claims: %w", err)
	}
	st, _ := readState(dir)
	live := map[int]record{}
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || n < 0 {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		held := n != except && unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
		if held {
			var r record
			_ = json.NewDecoder(f).Decode(&r) // empty: not connected yet
			live[n] = r
		} else {
			unplug(vethName(st.Bridge, n))
			if n != except {
				_ = os.Remove(name)
			}
		}
		f.Close()
	}
	return live, nil
}

func readState(dir string) (state, error) {
	var st state
	b, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(b, &st)
}

func writeState(dir string, st state) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	tmp := filepath.Join(dir, "state.new")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, "state.json"))
}

// addrOf is the address of a claim; the first of the subnet is the bridge's.
func addrOf(subnet netip.Prefix, n int) netip.Addr {
	a := subnet.Masked().Addr().As4()
	v := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	v += uint32(n) + 2
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}
