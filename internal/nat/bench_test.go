package nat

import (
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// BenchmarkNat is what the network of a container of root costs: claimed, connected, given back. The container's network
// namespace is there already, and goes afterwards.
func BenchmarkNat(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root: network namespaces")
	}
	for name, x := range map[string]struct {
		first bool
		ports []Port
	}{"first": {first: true}, "further": {}, "further, published": {ports: []Port{{IP: netip.IPv4Unspecified(), Host: 8080, Inner: 80, Proto: "tcp"}}}} {
		b.Run(name, func(b *testing.B) { benchmarkNat(b, x.first, x.ports) })
	}
}

func benchmarkNat(b *testing.B, first bool, ports []Port) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread is the host's network of this benchmark
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			host, err := netns.Get()
			if err != nil {
				return err
			}
			defer host.Close()
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := netlink.LinkSetUp(lo); err != nil {
				return err
			}
			dir := b.TempDir() + "/net"
			connect := func(ports []Port, timed bool) (*Claim, netns.NsHandle, error) {
				inner, err := netns.New()
				if err == nil {
					err = netns.Set(host)
				}
				if err != nil {
					return nil, inner, err
				}
				if timed {
					b.StartTimer()
				}
				c, err := NewClaim(dir, netip.Prefix{})
				if err == nil {
					err = c.Connect(int(inner), ports)
				}
				return c, inner, err
			}
			if !first { // one that stays
				c, inner, err := connect(nil, false)
				if err != nil {
					return err
				}
				defer inner.Close()
				defer c.Close()
			}
			b.ResetTimer()
			var closing time.Duration
			defer func() { b.ReportMetric(float64(closing.Microseconds())/1000/float64(b.N), "ms-to-close/op") }()
			for range b.N {
				b.StopTimer()
				c, inner, err := connect(ports, true)
				if err == nil {
					start := time.Now()
					err = c.Close()
					closing += time.Since(start)
				}
				b.StopTimer()
				defer inner.Close() // at the end: the kernel takes long for it, and holds up others
				if err != nil {
					return err
				}
				b.StartTimer()
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
}
