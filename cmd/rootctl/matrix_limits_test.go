package main

import (
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// testLimits are limits where the caller can set some, and refusals where not.
func (m *mode) testLimits(t *testing.T) {
	if m.caller != 0 {
		for _, flag := range []string{"--memory=64MB", "--pids=20", "--cpus=1"} {
			m.line(t, "refused: "+flag, func(t *testing.T) {
				out, errs, code := m.run(t, flag, "fixture", "true")
				// Groups of version 1 cannot be handed on to a user, those of version 2 can.
				_, hint, _ := strings.Cut(errs, "hint: ")
				if code != codeRunFailed || !strings.Contains(hint, "Delegate=yes") && !strings.Contains(hint, "sudo") {
					t.Errorf("exit code %d\n%s%s", code, out, errs)
				}
			})
		}
		return
	}
	// Without this one the next would fill the machine.
	bounded := t.Run("number of processes", func(t *testing.T) {
		out, errs, code := m.run(t, "--pids=20", "fixture", "sh", "-c", "for i in $(seq 60); do sleep 1 & done")
		if code == 0 || !strings.Contains(strings.ToLower(errs), "fork") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
	})
	m.lines["number of processes"] = true
	if bounded {
		m.line(t, "fork bomb", func(t *testing.T) {
			c := m.start("--pids=30", "--timeout=20s", "fixture", "sh", "-c", "sleep 0.5 & t=$!; b() { while kill -0 $t; do b & b & wait; done; }; b 2>/dev/null & wait $t; exit 5")
			if out, errs, code := outcome(t, c); code != 5 {
				t.Errorf("exit code %d\n%s%s", code, out, errs)
			}
		})
	}
	m.line(t, "memory", func(t *testing.T) {
		out, errs, code := m.run(t, "--memory=64MB", "--bind", m.probe+":/probe:ro", "fixture", "/probe", probeName+"-eat")
		// The exit code is rootctl's own: a monitor that was killed, too, has none.
		if code != 137 || !strings.Contains(errs, "over its memory limit of 64 MB") || strings.Contains(out, "eaten") {
			t.Errorf("exit code %d\n%s%s", code, out, errs)
		}
	})
}

// testNet is the container's network behind the host's, in network namespaces of the test.
func (m *mode) testNet(t *testing.T) {
	w := newNatWorld(t, &fixture{self: m.probe, server: m.server})
	if m.caller != 0 {
		w.tun = 0o666
	}
	before := w.natState(t)
	probed := func(flags []string, args ...string) *exec.Cmd {
		all := append([]string{"--net=nat", "--env", "GODEBUG=netdns=go", "--bind", m.probe + ":/probe:ro"}, flags...)
		return m.start(append(append(all, "fixture", "/probe", probeName+"-net"), args...)...)
	}
	m.line(t, "nat and DNS", func(t *testing.T) {
		out, errs, code := w.run(t, probed([]string{"--dns", natFar}, "get", "http://"+natArchive+"/whoami"))
		if code != 0 || out != natHost+"\n" {
			t.Errorf("exit code %d: %q %s", code, out, errs)
		}
	})
	m.line(t, "no loopback of the host", func(t *testing.T) {
		w.at(t, w.host, func() error {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			t.Cleanup(func() { unix.Close(fd) })
			if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 7000}); err != nil {
				return err
			}
			return unix.Listen(fd, 8)
		})
		for _, to := range []string{"127.0.0.1:7000", "10.0.2.2:7000"} {
			if out, errs, code := w.run(t, probed(nil, "dial", to)); code != 1 || strings.Contains(out, "open") {
				t.Errorf("%s: exit code %d\n%s%s", to, code, out, errs)
			}
		}
	})
	m.line(t, "published port", func(t *testing.T) {
		c := w.awaitListening(t, probed([]string{"--publish", "18080:8080"}, "echo", ":8080"))
		if err := w.echoed(w.far, natHost+":18080"); err != nil {
			t.Error(err)
		}
		end(t, c)
	})
	m.line(t, "network as before", func(t *testing.T) {
		if after := w.natState(t); after != before {
			t.Errorf("the host's network was changed:\n%s\nbefore:\n%s", after, before)
		}
	})
}
