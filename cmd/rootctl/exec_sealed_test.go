package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExecSealed: a command that joins a container by exec is told to be /proc/self/exe, or a script with that interpreter,
// and is then rootctl's own program, in a container whose root owns its file. It must not be able to change that file.
// What it tries, a change of its mode, needs no waiting until nobody executes the file.
func TestExecSealed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers, and to become users with and without id ranges")
	}
	f := newFixture(t)
	for _, x := range []struct {
		name  string
		flags []string
		user  func() *ordinary // nil: root
	}{
		{"root, the host's users", []string{"--userns=host"}, nil},
		{"a user with a range", nil, func() *ordinary { return f.as(t, false) }},
		{"a user with a single id", nil, func() *ordinary { return f.as(t, true) }},
	} {
		t.Run(x.name, func(t *testing.T) {
			var o *ordinary
			if x.user != nil {
				o = x.user()
			} else { // the same, by the name of nobody else
				own := *f
				o = &ordinary{fixture: &own}
				o.settle(t)
			}
			state := filepath.Join(o.home, "state", "containers")
			o.env = []string{"ROOTCTL_STATE=" + state, "ROOTCTL_CACHE=" + o.cache()}
			o.must(t, o.args...)
			o.must(t, append(append([]string{"run", "-d", "--name", "web"}, x.flags...), "fixture", "sh", "-c",
				"printf '#!/proc/self/exe "+probeName+"-self\n' > /script; chmod 755 /script; ln -s /proc/self/exe /link; echo ready; sleep 1000")...)
			defer o.must(t, "rm", "-f", "web")
			o.said(t, "web", "ready")
			attacker := *o
			for _, sealed := range []bool{true, false} {
				attacker.env = o.env
				if !sealed {
					attacker.env = append(attacker.env[:len(o.env):len(o.env)], unsealedEnv+"=1")
				}
				for _, command := range []string{"/proc/self/exe", "/link", "/script"} {
					if err := os.Chmod(o.self, 0o755); err != nil {
						t.Fatal(err)
					}
					// What has become the program of a test looks for its part in the first argument.
					out, errs, code := attacker.run(t, "exec", "web", command, probeName+"-self")
					if code != 0 || !strings.HasPrefix(out, "own file: ") {
						t.Fatalf("%s: exit code %d\n%s%s", command, code, out, errs)
					}
					st, err := os.Stat(o.self)
					if err != nil {
						t.Fatal(err)
					}
					if changed := st.Mode().Perm() != 0o755; changed == sealed {
						t.Errorf("%s, sealed %v: mode %v, %s", command, sealed, st.Mode(), out)
					}
				}
			}
		})
	}
}
