package nat

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// ResolvConf is the host's resolv.conf without the servers that only the host itself can ask. Where there are no
// others it is that of systemd-resolved with the servers behind its stub. Nil if neither names one.
func ResolvConf(root string) []byte {
	for _, name := range []string{"etc/resolv.conf", "run/systemd/resolve/resolv.conf"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue
		}
		if text, ok := reachable(string(b)); ok {
			return []byte(text)
		}
	}
	return nil
}

// reachable leaves out name servers on loopback, and says whether any is left.
func reachable(conf string) (string, bool) {
	var b strings.Builder
	found := false
	for line := range strings.Lines(conf) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			ip, err := netip.ParseAddr(f[1])
			if err != nil || ip.Unmap().IsLoopback() {
				continue
			}
			found = true
		}
		b.WriteString(line)
	}
	return b.String(), found
}
