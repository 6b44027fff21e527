package debootstrap

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
)

// TestWhy goes through a root's life and asks at each turn.
func TestWhy(t *testing.T) {
	if unix.Geteuid() != 0 {
		t.Skip("needs root: chroot")
	}
	w := newKeyWorld(t)
	ask := func(when, reason string, texts ...string) *Why {
		t.Helper()
		why, err := w.Why(t.Context(), w.req)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		var got []string
		for _, c := range why.Changes {
			got = append(got, c.Text)
		}
		if why.Reason != reason || why.Hit != (reason == WhyCached) || !slices.Equal(got, texts) {
			t.Errorf("%s: reason %q, want %q; changes:\n%s\nwant:\n%s", when, why.Reason, reason, strings.Join(got, "\n"), strings.Join(texts, "\n"))
		}
		return why
	}
	arch := w.req.Arch
	ask("empty cache", WhyNever)
	first := w.build(t)
	if why := ask("built", WhyCached); why.Root != first.Root || why.Keys.Root != first.Key {
		t.Errorf("root %s of key %s, want %s of %s", why.Root, why.Keys.Root, first.Root, first.Key)
	}
	w.upgrade(t, "2.0", "hello")
	ask("another package changed", WhyCached, "index main/"+arch+" changed: 0 of 13 packages newer")
	w.upgrade(t, "3.0", "apt")
	why := ask("a package of it changed", WhyChanged, "index main/"+arch+" changed: 1 of 13 packages newer", "apt 1.0 -> 3.0")
	if why.Nearest.Key != first.Key || why.Nearest.Root != first.Root || !why.Nearest.Time.Equal(first.Info.Built) {
		t.Errorf("nearest %+v", why.Nearest)
	}
	second := w.build(t)
	w.req.Include = []string{"hello"}
	ask("more packages", WhyChanged, "--include hello added", "staged nothing -> true", "hello 2.0 added")
	w.req.Include, w.req.Offline = []string{"hello"}, true
	ask("more packages, offline", WhyChanged, "--include hello added")
	w.req.Include, w.req.Offline = nil, false
	path := filepath.Join(w.Store.Dir(), "roots", string(second.Root)+".mtree")
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)/2] ^= 1
		err = os.WriteFile(path, b, 0o444)
	}
	if err != nil {
		t.Fatal(err)
	}
	ask("manifest flipped", WhyDamaged)
	ask("manifest taken away", WhyDamaged)
	if err := w.Store.Remove(second.Root); err != nil {
		t.Fatal(err)
	}
	ask("root removed", WhyCollected)
	if err := os.Remove(filepath.Join(w.Store.Dir(), "actions", string(second.Key))); err != nil {
		t.Fatal(err)
	}
	ask("its record, too", WhyCollected)
	w.newStore(t)
	w.req.Offline = true
	ask("empty cache, offline", WhyNever)
}

// TestCompareInputs shows what is said of each kind of difference, of fields that nobody has thought of yet, too.
func TestCompareInputs(t *testing.T) {
	const root = `{"kind":"root","suite":"x","build_epoch":1,"variant":"minbase","rules":{"merged":"no"},` +
		`"packages":[{"name":"libc6","version":"2.27-3ubuntu1","sha256":"aa","index":"1"},{"name":"b","version":"1"}],"files":[{"path":"/etc/a","sha256":"1"}]}`
	const sel = `{"kind":"resolve","suite":"x","include":null,"pockets":["release"],"indices":[{"pocket":"updates","component":"main","arch":"amd64","sha256":"1"}]}`
	for _, tt := range []struct {
		kind, was, old, now string
		want                []string
	}{
		{"root", root, `2.27-3ubuntu1`, `2.27-3ubuntu1.6`, []string{"libc6 2.27-3ubuntu1 -> 2.27-3ubuntu1.6"}},
		{"root", root, `"sha256":"aa"`, `"sha256":"bb"`, []string{"libc6 2.27-3ubuntu1: other bytes of the same version"}},
		{"root", root, `"index":"1"`, `"index":"2"`, []string{"libc6 2.27-3ubuntu1: its paragraph in the index changed"}},
		{"root", root, `,{"name":"b","version":"1"}`, ``, []string{"b 1 gone"}},
		{"root", root, `{"name":"b","version":"1"}`, `{"name":"b","version":"1"},{"name":"c","version":"2"}`, []string{"c 2 added"}},
		{"root", root, `"build_epoch":1`, `"build_epoch":2`, []string{"build_epoch 1 -> 2"}},
		{"root", root, `"merged":"no"`, `"merged":"yes"`, []string{"the suite's merged no -> yes"}},
		{"root", root, `"variant":"minbase"`, `"variant":"buildd"`, []string{"variant minbase -> buildd"}},
		{"root", root, `"path":"/etc/a","sha256":"1"`, `"path":"/etc/a","sha256":"2"`, []string{"file /etc/a changed"}},
		{"root", root, `"build_epoch":1`, `"build_epoch":1,"later":{"x":1}`, []string{`later nothing -> {"x":1}`}},
		{"resolve", sel, `"include":null`, `"include":["curl"]`, []string{"--include curl added"}},
		{"resolve", sel, `["release"]`, `["release","updates"]`, []string{"--pocket updates added"}},
		{"resolve", sel, `"sha256":"1"`, `"sha256":"2"`, []string{"index updates main/amd64 changed"}},
		{"resolve", sel, `"suite":"x"`, `"suite":"x"`, nil},
	} {
		t.Run(fmt.Sprint(tt.want), func(t *testing.T) {
			changes, _, ok := compareInputs(tt.kind, "x", []byte(tt.was), []byte(strings.Replace(tt.was, tt.old, tt.now, 1)))
			var got []string
			for _, c := range changes {
				got = append(got, c.Text)
			}
			if !ok || !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if _, _, ok := compareInputs("root", "y", []byte(root), []byte(root)); ok {
		t.Error("an input of another suite is compared")
	}
	s, err := cache.Open(t.TempDir(), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Of several, the one that differs least; another variant is far off, whatever its packages are.
	inputs := []string{root, strings.Replace(root, "minbase", "buildd", 1), strings.Replace(root, `"build_epoch":1`, `"build_epoch":3`, 1)}
	for _, in := range inputs {
		if err := s.StoreInputs(cache.Sum([]byte(in)), []byte(in)); err != nil {
			t.Fatal(err)
		}
	}
	w := &Why{Suite: "x"}
	now := strings.Replace(strings.Replace(inputs[1], "2.27", "2.28", 1), "3ubuntu1", "3ubuntu2", 1)
	w.nearest(s, kindRoot, Key{cache.Sum([]byte(now)), []byte(now)})
	if w.Nearest == nil || w.Nearest.Key != cache.Sum([]byte(inputs[1])) {
		t.Errorf("nearest %+v, want %s", w.Nearest, cache.Sum([]byte(inputs[1])))
	}
}
