package dpkg

import (
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/control"
)

// login and console-setup-linux share a bucket of dpkg 1.19's table. dpkg has them in the order in which
// it read their names first, be it in a dependency.
func TestOrderOfCollidingNames(t *testing.T) {
	if bucket("login", 8191) != bucket("console-setup-linux", 8191) {
		t.Fatal("no collision")
	}
	login, linux := "Package: login\nStatus: x\n", "Package: console-setup-linux\n"
	setup, other := "Package: console-setup\nPre-Depends: a (>= 1)\nDepends: console-setup-linux | b:any, c\n", "Package: xkb-data\n"
	for _, tt := range []struct {
		summary    string
		paragraphs []string
		want       string
	}{
		{"as read", []string{other, login, linux}, "xkb-data login console-setup-linux"},
		{"a dependency read before", []string{other, setup, login, linux}, "console-setup xkb-data console-setup-linux login"},
		{"a dependency read after", []string{login, setup, linux, other}, "console-setup xkb-data login console-setup-linux"},
	} {
		dpkgOrder(tt.paragraphs, 8191)
		var got []string
		for _, p := range tt.paragraphs {
			got = append(got, control.Field(p, "Package"))
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.summary, got, tt.want)
		}
	}
}
