package runner

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestInit(t *testing.T) {
	for _, users := range []string{"own", "host"} {
		run := func(script string, o Options) result {
			s := shell(t, script)
			s.UserNS, s.Init = users, true
			return try(t, s, o)
		}
		for script, code := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "kill -TERM $$": 143, "[ $$ != 1 ]": 0} {
			if r := run(script, Options{}); r.status.Code != code || r.failure != nil {
				t.Errorf("%s users, %s: %+v %v", users, script, r.status, r.failure)
			}
		}
		// Orphans are reaped, and the reaper shows nothing of the host.
		r := run(`(sh -c 'exit 3' & ) ; i=0; while :; do n=0; for p in /proc/[0-9]*; do n=$((n+1)); done; [ $n = 2 ] || [ $i = 200 ] && break; i=$((i+1)); sleep 0.05; done; echo procs $n
cat /proc/1/cmdline | tr '\0' ' '; echo; cat /proc/1/comm
for f in exe environ mem maps fd/0; do cat /proc/1/$f 2>/dev/null >/dev/null && echo open $f; done; readlink /proc/1/exe; ls /proc/1/fd; true`, Options{})
		if !strings.Contains(r.out, "procs 2\n") || !strings.Contains(r.out, "rootctl-init") || strings.Contains(r.out, "test.") ||
			strings.Contains(r.out, "open ") || strings.Contains(r.out, os.Args[0]) {
			t.Errorf("%s users: %q", users, r.out)
		}
		signals := make(chan os.Signal, 1)
		signals <- unix.SIGTERM // before there is a reaper, or a command
		if r := run("sleep 10", Options{Signals: signals}); r.status.TimedOut || r.status.Code != 143 && r.failure == nil {
			t.Errorf("%s users: TERM at once: %+v", users, r)
		}
		mark := sleeper()
		once(t, "sleep\x00"+mark, func() { signals <- unix.SIGTERM })
		if r := run("exec sleep "+mark, Options{Signals: signals}); r.status.Code != 143 || r.status.TimedOut {
			t.Errorf("%s users: TERM without a handler: %+v", users, r.status)
		}
		mark = sleeper()
		once(t, "sleep\x00"+mark, func() { signals <- unix.SIGINT })
		if r := run("trap 'exit 9' INT; sleep "+mark+" & wait", Options{Signals: signals}); r.status.Code != 9 {
			t.Errorf("%s users: INT with a handler: %+v", users, r.status)
		}
	}
}

func TestRunUser(t *testing.T) {
	s := shell(t, "id; while read l; do case $l in CapEff*) echo $l;; esac; done </proc/self/status; umask; cd /root 2>&1 || true")
	s.User = &Identity{UID: 1000, GID: 1000, Groups: []uint32{24}}
	if out := must(t, s); !strings.HasPrefix(out, "uid=1000(user) gid=1000(user) groups=1000(user),24\nCapEff: 0000000000000000\n0022\n") {
		t.Errorf("%q", out)
	}
	s.User = &Identity{Groups: []uint32{24}}
	if out := must(t, s); !strings.HasPrefix(out, "uid=0(root) gid=0(root) groups=0(root),24\nCapEff: 00000000a80425fb\n") {
		t.Errorf("%q", out)
	}
}

func TestFindAccount(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(root+"/etc", 0o755); err != nil {
			t.Fatal(err)
		}
		os.Remove(root + "/etc/" + name)
		if err := os.WriteFile(root+"/etc/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("passwd", "root:x:0:0:root:/root:/bin/sh\nshort:x:1\nbad:x:-1:x:::\nann:x:1000:1001::/home/ann:/bin/sh\n")
	write("group", "root:x:0:\nvideo:x:44:ann,bob\nann:x:1001:ann\n")
	for _, x := range []struct {
		user, want string
	}{
		{"ann", "1000:1001 44"}, {"1000", "1000:1001 44"}, {"ann:video", "1000:44"}, {"ann:7", "1000:7"}, {"4242", "4242:0"},
		{"4242:4243", "4242:4243"}, {"root", "0:0"}, {"bad", ""}, {"short", ""}, {"bob", ""}, {"ann:nobody", ""}, {":1", ""}, {"ann:", ""},
		{"", ""}, {"4294967295", ""}, {"-1", ""},
	} {
		a, err := FindAccount(root, x.user)
		got := ""
		if err == nil {
			got = strings.Join(a.words(), " ")
		}
		if got != x.want {
			t.Errorf("%q: %q, want %q (%v)", x.user, got, x.want, err)
		}
	}
	// Hostile roots: nothing outside is read, nothing hangs.
	for what, hostile := range map[string]func(string) error{
		"fifo":   func(f string) error { return unix.Mkfifo(f, 0o644) },
		"device": func(f string) error { return os.Symlink("/proc/self/fd/0", f) },
		"link":   func(f string) error { return os.Symlink("/etc/hostpasswd-that-is-outside", f) },
		"climb":  func(f string) error { return os.Symlink("../../../../../../etc/passwd", f) },
		"large":  func(f string) error { return os.Truncate(f, 1<<40) },
	} {
		write("passwd", "")
		if what != "large" {
			os.Remove(root + "/etc/passwd")
		}
		if err := hostile(root + "/etc/passwd"); err != nil {
			t.Fatal(err)
		}
		if a, err := FindAccount(root, "root"); err == nil {
			t.Errorf("%s: %+v", what, a)
		}
	}
}
