package runner

import (
	"errors"
	"strings"
	"testing"
)

// TestReadOnlyRoot sees that nothing in a sealed root can be changed and that what is mounted in it can.
func TestReadOnlyRoot(t *testing.T) {
	for _, users := range []string{"own", "host"} {
		src := t.TempDir()
		s := shell(t, `for f in /new /etc/new /root/new; do (: > $f) 2>/dev/null && echo wrote $f; done
			echo x >> /etc/passwd; chmod 700 /bin 2>&1; rm /etc/passwd 2>&1; mount -o remount,rw / 2>/dev/null && echo remounted
			for f in /tmp/a /run/b /deep/in/c /shared/d; do echo ok > $f && cat $f; done`)
		s.UserNS, s.ReadOnly = users, true
		s.Memory = []Memory{{Path: "/deep/in"}}
		s.Binds = []Bind{{Src: src, Dst: "/shared"}}
		r := try(t, s, Options{})
		if n := strings.Count(r.out, "ok\n"); n != 4 || strings.Contains(r.out, "wrote") || strings.Contains(r.out, "remounted") {
			t.Errorf("%s: %s%s %v", users, r.out, r.err, r.failure)
		}
		if n := strings.Count(r.out+r.err, "Read-only file system"); n != 3 {
			t.Errorf("%s: said %d times that it is read-only:\n%s%s", users, n, r.out, r.err)
		}
		if !exists(src + "/d") {
			t.Errorf("%s: the bind took nothing", users)
		}
	}
}

// TestMemory sees sizes and modes of file systems in memory, of /tmp's own and of a copy's changes, too.
func TestMemory(t *testing.T) {
	for _, users := range []string{"own", "host"} {
		for _, branch := range []bool{false, true} {
			s := shell(t, `stat -c %a /tmp /run /cache; test -d /run/lock && echo lock
				head -c 2000000 /dev/zero > /tmp/big 2>/dev/null || echo full; head -c 900000 /dev/zero > /cache/big && echo fits
				head -c 5000000 /dev/zero > /big 2>/dev/null || echo upper full`)
			s.UserNS, s.UpperSize = users, 4<<20
			s.Memory = []Memory{{Path: "/tmp", Size: 1 << 20, Mode: 0o1770}, {Path: "/cache", Size: 1 << 20, Mode: 0o700}}
			r := try(t, s, Options{pathOverlay: branch})
			if want := "1770\n755\n700\nlock\nfull\nfits\nupper full\n"; r.out != want || r.failure != nil {
				t.Errorf("%s, by path %v: %q, not %q: %s %v", users, branch, r.out, want, r.err, r.failure)
			}
		}
	}
}

func TestBadMemory(t *testing.T) {
	for _, m := range [][]Memory{{{Path: "/"}}, {{Path: "x"}}, {{Path: "/x/"}}, {{Path: "/proc/x"}}, {{Path: "/sys"}}, {{Path: "/dev"}},
		{{Path: "/x"}, {Path: "/x"}}, {{Path: "/x", Size: -1}}, {{Path: "/x", Mode: 0o10000}}, {{Path: "/x\x00y"}}} {
		s := Spec{Lower: []string{"/x"}, Argv: []string{"true"}, UserNS: "host", Memory: m}
		s = s.withDefaults()
		var bad *SpecError
		if err := s.validate(); !errors.As(err, &bad) || bad.Fix == "" {
			t.Errorf("%+v: %v", m, err)
		}
	}
}
