package debootstrap

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Mirrors are asked in the order in which they were told, one pocket's own first, each once.
func TestMirrorOrder(t *testing.T) {
	ubuntu := keyRequest(t)
	debian := keyRequest(t)
	debian.Suite.Family = "debian"
	debian.Suite.Pockets[1].Mirrors = map[string][]string{"default": {"http://security.example"}}
	const own = "http://archive.example/ubuntu"
	given := []Mirror{
		{URL: "http://a", From: "--mirror"}, {URL: "http://s", Pocket: "security", From: "--mirror"},
		{URL: "http://c", From: "configuration"}, {URL: "http://u", Pocket: "updates", From: "configuration"},
		{URL: "http://h", Pocket: "release", From: "host"}, {URL: "http://a", Pocket: "release", From: "host"}, {URL: "http://all", From: "host"},
	}
	for _, c := range []struct {
		summary, pocket string
		r               Request
		only            bool
		want            []string
	}{
		{"release", "release", ubuntu, false, []string{"http://a", "http://c", "http://h", own}},
		{"a pocket's own stand in for others", "security", ubuntu, false, []string{"http://s", "http://c", "http://all", own}},
		{"but not for another place's", "updates", ubuntu, false, []string{"http://a", "http://u", "http://all", own}},
		{"only these", "security", ubuntu, true, []string{"http://s", "http://c", "http://all"}},
		{"Debian's security archive lies apart", "security", debian, false, []string{"http://s", "http://security.example"}},
		{"its updates do not", "updates", debian, false, []string{"http://a", "http://u", "http://all", own}},
	} {
		c.r.Mirrors, c.r.OnlyThese = given, c.only
		if d := cmp.Diff(c.want, c.r.mirrorURLs(c.pocket)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.summary, d)
		}
	}
}

// A password is in no key, not even as part of what is hashed.
func TestKeysWithoutPasswords(t *testing.T) {
	keys := map[string]bool{}
	for _, url := range []string{"http://m/ubuntu", "http://u:p@m/ubuntu", "http://u:q@m/ubuntu"} {
		r := keyRequest(t)
		r.KeepMirror, r.Mirrors = true, []Mirror{{URL: url}}
		keys[string(requestKey(r).Key)+string(rootKey(keyLock(r)).Key)] = true
	}
	if len(keys) != 1 {
		t.Errorf("%d keys for one mirror", len(keys))
	}
}
