package nat

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// greetLimit is how long the other end of a container's link may take to answer.
const greetLimit = time.Second

// greet has the container's network ask who its gateway is, and waits for the answer. pasta of 2023 learns a container's
// link address from what that sends only, and what it sends to a published port before is lost. The question does not go
// further than pasta.
//
// The container's namespace cannot be left again without rights over the host's, so a thread is spent on it.
func greet(netns int) error {
	ch := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
			ch <- os.NewSyscallError("setns", err)
			return
		}
		ch <- greetHere()
	}()
	if err := <-ch; err != nil {
		return fmt.Errorf("ask for the gateway: %w", err)
	}
	return nil
}

// greetHere does it in this thread's network namespace. Without a gateway there is nobody to ask.
func greetHere() error {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	routes, err := h.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Gw != nil && (r.Dst == nil || r.Dst.IP.IsUnspecified()) {
			return askFor(h, r.LinkIndex, r.Gw)
		}
	}
	return nil
}

// askFor makes the kernel look up a neighbour, and waits until it knows it.
func askFor(h *netlink.Handle, link int, ip net.IP) error {
	ask := &netlink.Neigh{LinkIndex: link, IP: ip, Family: netlink.FAMILY_V4, Flags: unix.NTF_USE}
	if err := h.NeighSet(ask); err != nil {
		return err
	}
	for limit := time.Now().Add(greetLimit); ; time.Sleep(200 * time.Microsecond) {
		list, err := h.NeighList(link, netlink.FAMILY_V4)
		if err != nil {
			return err
		}
		for _, n := range list {
			if n.IP.Equal(ip) && n.State&(unix.NUD_REACHABLE|unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 {
				return nil
			}
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%s does not answer within %v", ip, greetLimit)
		}
	}
}
