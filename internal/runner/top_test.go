package runner

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestResidents compares what the host lists with what the container sees of itself.
func TestResidents(t *testing.T) {
	for summary, change := range map[string]func(*Spec){
		"own users":            func(*Spec) {},
		"the host's users":     func(s *Spec) { s.UserNS = "host" },
		"the host's processes": func(s *Spec) { s.Share = []string{"pid"} },
	} {
		t.Run(summary, func(t *testing.T) {
			s := shell(t, "sleep 1001 & setpriv --reuid 1000 --clear-groups sleep 1002 & setpriv --reuid 77 --clear-groups sleep 1003 & unshare --pid --fork sleep 1004 & wait")
			s.Caps, s.Seccomp = append(DefaultCaps(), "CAP_SYS_ADMIN"), "none"
			change(&s)
			c := startContainer(t, s)
			byCommand := map[string]Resident{}
			eventually(t, "all have begun", func() bool {
				list, err := Residents(c.Process)
				if err != nil {
					t.Fatal(err)
				}
				byCommand = map[string]Resident{}
				for _, r := range list {
					byCommand[strings.Join(r.Command, " ")] = r
				}
				return len(list) == 6 && byCommand["sleep 1001"].PID != 0 && byCommand["sleep 1002"].UID == 1000 && byCommand["sleep 1003"].UID == 77 && byCommand["sleep 1004"].PID != 0
			})
			for command, user := range map[string]string{"sleep 1001": "root", "sleep 1002": "user", "sleep 1003": "77", "sleep 1004": "root"} {
				r := byCommand[command]
				if r.User != user || r.HostPID == 0 {
					t.Errorf("%s: %+v", command, r)
				}
				if line, err := os.ReadFile(procPath(r.HostPID, "cmdline")); err != nil || strings.ReplaceAll(string(line), "\x00", " ") != command+" " {
					t.Errorf("%s on the host: %q, %v", command, line, err)
				}
				if out := c.exec(t, script(fmt.Sprintf("read x </proc/%d/cmdline; echo $x", r.PID))).out; !strings.HasPrefix(out, "sleep") {
					t.Errorf("%s inside, %d: %q", command, r.PID, out)
				}
			}
			if init := byCommand[strings.Join(s.Argv, " ")]; (init.PID == 1) != (s.Share == nil) || init.HostPID != c.PID {
				t.Errorf("the init: %+v", init)
			}
			c.end()
			var gone *GoneError
			if list, err := Residents(c.Process); !errors.As(err, &gone) {
				t.Errorf("after the end: %+v, %v", list, err)
			}
		})
	}
}
