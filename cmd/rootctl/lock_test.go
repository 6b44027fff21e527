package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// movedOf is what an archive holds two months later: hello is newer, build-essential gone, and apt needs one more.
func movedOf(archive *testarchive.Archive) *testarchive.Archive {
	m := testarchive.New(archive.Suite)
	m.Key, m.Arches = archive.Key, archive.Arches
	m.Date = archive.Date.AddDate(0, 2, 0)
	for _, p := range archive.Packages() {
		switch p.Name {
		case "build-essential":
			continue
		case "apt":
			p.Version = "2.0"
			p.Fields = map[string]string{"Priority": "important", "Section": "admin", "Depends": "newcomer"}
		case "sed":
			p.Version = "0.9"
		}
		m.Add(p)
	}
	return m.Add(testarchive.Package{Name: "newcomer", Arch: archive.Arches[0]})
}

const lockedSuite = `codename = "bionic"
aliases  = ["18.04"]
family   = "ubuntu"
title    = "Ubuntu of a fixture (bionic)"
keyrings = ["fixture.gpg"]
snapshot = "BASE/snapshots/{archive}/{time}"
[mirrors]
default = ["BASE/MIRROR/ubuntu"]
[archive-mirrors]
default = ["BASE/old/ubuntu"]
[[pockets]]
name  = "updates"
suite = "bionic-updates"
[rules]
merged         = "no"
root-order-mod = 65521
`

// lockEnv serves an archive as it is and as it was, from mirrors that lack a file or bend one, and writes homes whose
// suites folder has a bionic that lies there.
func lockEnv(t *testing.T, archive *testarchive.Archive) map[string]string {
	t.Helper()
	moved := movedOf(archive)
	handlers := map[string]*testarchive.Handler{
		"full":  archive.Handler(),
		"lacks": archive.Handler().Fault(testarchive.Fault{Path: "dpkg_*.deb", Status: http.StatusNotFound}),
		"bent":  archive.Handler().Fault(testarchive.Fault{Path: "dpkg_*.deb", Corrupt: true}),
		"moved": moved.Handler(),
		"old":   archive.Handler(),
		"empty": new(testarchive.Handler),
	}
	mux := http.NewServeMux()
	for name, h := range handlers {
		mux.Handle("/"+name+"/ubuntu/", http.StripPrefix("/"+name+"/ubuntu", h))
	}
	// As the real ones do: the last state before the time asked for.
	mux.HandleFunc("/snapshots/ubuntu/{time}/", func(w http.ResponseWriter, r *http.Request) {
		at, err := time.Parse("20060102T150405Z", r.PathValue("time"))
		h := handlers["moved"]
		switch {
		case err != nil || at.Before(archive.Date):
			http.NotFound(w, r)
			return
		case at.Before(moved.Date):
			h = handlers["full"]
		}
		http.StripPrefix("/snapshots/ubuntu/"+r.PathValue("time"), h).ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	env := map[string]string{"LOCKS": server.URL}
	keys := map[string][]byte{"stranger": testarchive.NewKey("stranger").Armored()} // else the archive's
	for _, name := range append(slices.Sorted(maps.Keys(handlers)), "stranger") {
		home := filepath.Join(t.TempDir(), name)
		suites := filepath.Join(home, ".config", "rootctl", "suites")
		text := strings.NewReplacer("BASE", server.URL, "MIRROR", name).Replace(lockedSuite)
		err := errors.Join(os.MkdirAll(filepath.Join(suites, "keyrings"), 0o755),
			os.WriteFile(filepath.Join(suites, "bionic.toml"), []byte(text), 0o644),
			os.WriteFile(filepath.Join(suites, "keyrings", "fixture.gpg"), []byte(cmp.Or(string(keys[name]), string(archive.Keyring()))), 0o644))
		if err != nil {
			t.Fatal(err)
		}
		env["HOME_"+strings.ToUpper(name)] = home
	}
	return env
}

// The real bionic, by a lock file: made in one cache, built in an empty one, it is the root that is pinned.
func TestRealLocked(t *testing.T) {
	r := newReal(t)
	if hostArch() != "amd64" {
		t.Skip("needs amd64: the pinned digest is of its root")
	}
	file := filepath.Join(t.TempDir(), "rootctl.lock")
	_, errs, code := r.rootctl(t, "lock", "bionic", "-o", file)
	if code == codeNotFound && strings.Contains(errs, "no usable mirror") {
		t.Skipf("needs archive: no mirror answers: %s", errs)
	}
	if code != 0 {
		t.Fatalf("lock: %d\n%s", code, errs)
	}
	r.dir = filepath.Join(t.TempDir(), "empty")
	b := r.buildSuite(t, "--lock", file, "bionic")
	if want := pinned(t)[0]; want[0] != "bionic" || b.Digest != want[1] || b.Cached || b.Name != "" || !b.Locked {
		t.Errorf("%+v, want digest %s", b, want)
	}
	// The archive's own build of it is a hit, and now it is known who signed it.
	if again := r.buildSuite(t, "bionic"); !again.Cached || again.Locked || again.Name != "bionic" || again.Key != b.Key {
		t.Errorf("unlocked: %+v", again)
	}
	if out := fmt.Sprint(r.must(t, "lock", "--check", file)); out != "bionic:amd64 is current\n" {
		t.Errorf("check: %s", out)
	}
}

// An ordinary user locks and builds as root does; the file is theirs.
func TestRootlessLock(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: another user's processes")
	}
	f := newFixture(t)
	want := f.build(t, filepath.Join(t.TempDir(), "cache"))
	o := f.as(t, false)
	o.must(t, slices.Concat([]string{"lock"}, o.args[1:6], []string{"bionic"})...)
	st, err := os.Stat(filepath.Join(o.home, "rootctl.lock"))
	if err != nil || st.Mode().Perm() != 0o644 || st.Sys().(*syscall.Stat_t).Uid != uint32(o.uid) {
		t.Fatalf("%v %v", st, err)
	}
	var b buildReport
	out := o.must(t, slices.Concat([]string{"build", "--json", "--lock", "rootctl.lock"}, o.args[1:4], []string{"bionic"})...)
	if err := json.Unmarshal([]byte(out), &b); err != nil || b.Digest != "sha256:"+want || !b.Locked || b.Cached {
		t.Errorf("%v %+v, want %s", err, b, want)
	}
}
