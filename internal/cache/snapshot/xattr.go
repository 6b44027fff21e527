package snapshot

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// keepXattr is the allow-list. trusted.overlay.* would change what an overlay shows, security.selinux
// and security.ima are the host's business.
func keepXattr(name string) bool {
	switch name {
	case "security.capability", "system.posix_acl_access", "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "user.") && len(name) > len("user.") && len(name) <= 255
}

// readXattrs reads the allow-listed attributes of an open file or directory, nil if it has none.
func readXattrs(fd int, buf []byte) (map[string]string, error) {
	n, err := unix.Flistxattr(fd, buf)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	if n == 0 {
		return nil, nil
	}
	var attrs map[string]string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		if !keepXattr(name) {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, buf)
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		if attrs == nil {
			attrs = map[string]string{}
		}
		attrs[name] = canonicalXattr(name, string(buf[:n]))
	}
	return attrs, nil
}

// canonicalXattr takes the user namespace out of a file capability: written inside one, the kernel
// stores revision 3 with that namespace's root (vfs_ns_cap_data: 24 bytes); outside, it is revision 2
// (20 bytes). A root's identity must not tell who built it.
func canonicalXattr(name, value string) string {
	if name == "security.capability" && len(value) == 24 && value[3] == 3 {
		return value[:3] + "\x02" + value[4:20]
	}
	return value
}
