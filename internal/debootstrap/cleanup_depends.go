package debootstrap

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/debootstrap/unpack"
)

// sortDepends brings insserv's dependency files (its manual page, "FILES": makefiles for startpar) into one
// order. insserv writes equals as the file system lists /etc/init.d, which differs from one to the next.
func (in *installer) sortDepends() error {
	for _, n := range []string{"boot", "start", "stop"} {
		name := "/etc/init.d/.depend." + n
		st, err := in.t.Lstat(name)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
			continue
		}
		if err != nil {
			return err
		}
		b, err := in.t.ReadFile(name, maxMaster)
		if err != nil {
			return err
		}
		sorted := sortMakefile(string(b))
		if sorted == string(b) {
			continue
		}
		m := unpack.Meta{Mode: st.Mode & 0o7777, UID: int(st.Uid), GID: int(st.Gid)}
		if err := in.t.WriteFile(name, []byte(sorted), m); err != nil {
			return err
		}
	}
	return nil
}

// sortMakefile sorts the words after "NAME =" and "target:", and the lines of targets among themselves.
func sortMakefile(s string) string {
	var head, rules []string
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[1] == "=":
			slices.Sort(f[2:])
			head = append(head, strings.Join(f, " "))
		case len(f) > 0 && strings.HasSuffix(f[0], ":"):
			slices.Sort(f[1:])
			rules = append(rules, strings.Join(f, " "))
		default:
			return s // not what insserv writes
		}
	}
	slices.Sort(rules)
	if len(head)+len(rules) == 0 {
		return s
	}
	return strings.Join(append(head, rules...), "\n") + "\n"
}
