package container

import "testing"

func TestUserCache(t *testing.T) {
	owners := map[string]int{"/home/alice": 1000, "/home/bob": 1001, "/xdg/alice": 1000, "/": 0}
	owner := func(dir string) (int, bool) { uid, ok := owners[dir]; return uid, ok }
	homes := map[int]string{1000: "/home/alice", 1001: "/home/bob", 1003: "/home/gone"}
	for _, tt := range []struct {
		summary   string
		uid       int
		xdg, home string
		want      string
	}{
		{"home", 1000, "", "/home/alice", "/home/alice/.cache/rootctl"},
		{"XDG", 1000, "/xdg/alice", "/home/alice", "/xdg/alice/rootctl"},
		{"XDG that is not there yet", 1000, "/xdg/new", "/home/alice", "/xdg/new/rootctl"},
		{"relative XDG counts nothing", 1000, "cache", "/home/alice", "/home/alice/.cache/rootctl"},
		{"sudo -u bob without -H", 1001, "", "/home/alice", "/home/bob/.cache/rootctl"},
		{"and with alice's XDG", 1001, "/xdg/alice", "/home/alice", "/home/bob/.cache/rootctl"},
		{"alice's XDG, bob's home", 1001, "/xdg/alice", "/home/bob", "/home/bob/.cache/rootctl"},
		{"a user that nobody knows, in a container", 1002, "", "/", "/.cache/rootctl"},
		{"a user without a home", 1003, "", "/home/alice", "/home/alice/.cache/rootctl"},
		{"no variable", 1000, "", "", ""},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			env := map[string]string{"XDG_CACHE_HOME": tt.xdg, "HOME": tt.home}
			got := UserCache(func(n string) string { return env[n] }, tt.uid, owner, func(uid int) string { return homes[uid] })
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
