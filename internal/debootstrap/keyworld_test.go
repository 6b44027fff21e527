package debootstrap

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

const keySuite = `codename = "bionic"
family   = "ubuntu"
title    = "Ubuntu 18.04 (bionic)"
eol      = "2099-06-30"
keyrings = ["fixture.gpg"]
[mirrors]
default = ["http://archive.invalid/ubuntu"]
[rules]
merged         = "no"
root-order-mod = 8191
`

// keyWorld is a signed archive, a builder that can read it and build from it, and the request of a plain suite.
type keyWorld struct {
	*Builder
	archive *testarchive.Archive
	server  *testarchive.Server
	req     Request
}

func newKeyWorld(t *testing.T) *keyWorld {
	t.Helper()
	return worldOf(t, testarchive.HostArchive(t, "bionic"))
}

// newSmallWorld has packages that can be selected and not installed.
func newSmallWorld(t *testing.T) *keyWorld {
	t.Helper()
	a := testarchive.New("bionic")
	a.Arches = []string{testarchive.HostArch(t)}
	for _, p := range [][2]string{{"dpkg", "required"}, {"libc6", "required"}, {"apt", "important"}, {"hello", "optional"}} {
		a.Add(testarchive.Package{Name: p[0], Fields: map[string]string{"Priority": p[1]}})
	}
	return worldOf(t, a)
}

func worldOf(t *testing.T, a *testarchive.Archive) *keyWorld {
	t.Helper()
	w := &keyWorld{archive: a}
	set, err := suites.Load(fstest.MapFS{"bionic.toml": {Data: []byte(keySuite)}, "keyrings/fixture.gpg": {Data: w.archive.Keyring()}})
	if err != nil {
		t.Fatal(err)
	}
	su, err := set.Lookup("bionic")
	if err != nil {
		t.Fatal(err)
	}
	client := &fetch.Client{Attempts: 2, Stall: 5 * time.Second, Backoff: time.Millisecond}
	t.Cleanup(client.CloseIdle)
	w.server = w.archive.Serve(t)
	w.Builder = &Builder{Client: client, Suites: set, Exec: unshareExecutor{}, Log: slog.New(slog.DiscardHandler), Now: time.Now}
	w.req = Request{Suite: su, Arch: testarchive.HostArch(t), Mirrors: []Mirror{{URL: w.server.URL, From: "--mirror"}}, OnlyThese: true}
	w.newStore(t)
	return w
}

func (w *keyWorld) newStore(t *testing.T) {
	t.Helper()
	var err error
	if w.Store, err = cache.Open(t.TempDir(), cache.Options{}); err != nil {
		t.Fatal(err)
	}
}

// upgrade gives packages another version, by name, a day later.
func (w *keyWorld) upgrade(t *testing.T, version string, names ...string) {
	t.Helper()
	packages := slices.Clone(w.archive.Packages())
	for _, p := range packages {
		w.archive.Remove(p.Name)
	}
	for _, p := range packages {
		if slices.Contains(names, p.Name) {
			p.Version = version
		}
		w.archive.Add(p) // in the old order: that of the index is an input
	}
	w.archive.Date = w.archive.Date.Add(24 * time.Hour)
	w.server.Set(w.archive)
}

func (w *keyWorld) build(t *testing.T) *Result {
	t.Helper()
	if unix.Geteuid() != 0 {
		t.Skip("needs root: chroot")
	}
	res, err := w.Build(t.Context(), w.req)
	if err != nil {
		var failed *ConfigureError
		if errors.As(err, &failed) {
			t.Log(strings.Join(failed.LastLines, "\n"))
		}
		t.Fatal(err)
	}
	res.Lease.Close()
	return res
}
