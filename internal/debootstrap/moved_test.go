package debootstrap

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
	"github.com/rootctl/rootctl/suites"
)

const movedSuite = `codename = "moved"
family   = "debian"
title    = "Debian 99 (moved)"
eol      = "2030-06-30"
keyrings = ["moved.gpg"]
[mirrors]
default = ["LIVE"]
[archive-mirrors]
default = ["ARCHIVE"]
[[pockets]]
name  = "security"
suite = "moved-security"
[rules]
merged         = "no"
root-order-mod = 65521
`

// errLocked stops a build when its Lock is made.
var errLocked = errors.New("would be built now")

// movedWorld is a suite of the year 2030 whose table entry knows nothing of a move.
func movedWorld(t *testing.T) (b *Builder, req Request, live, old *testarchive.Server, a *testarchive.Archive) {
	a = testarchive.HostArchive(t, "moved")
	a.Key = testarchive.NewKeyWith(testarchive.KeyOptions{Name: "moved", Expires: time.Date(2030, 12, 31, 0, 0, 0, 0, time.UTC)})
	a.Date = time.Date(2030, 6, 1, 0, 0, 0, 0, time.UTC)
	a.ValidUntil = a.Date.AddDate(0, 0, 7)
	live, old = a.Serve(t), a.Serve(t)
	live.SetFiles(map[string][]byte{"README": []byte("moved away")}, a.Date)
	text := strings.NewReplacer("LIVE", live.URL, "ARCHIVE", old.URL).Replace(movedSuite)
	set, err := suites.Load(fstest.MapFS{"moved.toml": {Data: []byte(text)}, "keyrings/moved.gpg": {Data: a.Keyring()}})
	if err != nil {
		t.Fatal(err)
	}
	su, err := set.Lookup("moved")
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.Open(t.TempDir(), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	client := &fetch.Client{Attempts: 2, Stall: 5 * time.Second, Backoff: time.Millisecond}
	t.Cleanup(client.CloseIdle)
	b = &Builder{
		Store: store, Client: client, Suites: set, Exec: unshareExecutor{}, Log: slog.New(slog.DiscardHandler),
		Now: func() time.Time { return time.Date(2031, 3, 1, 12, 0, 0, 0, time.UTC) },
	}
	if unix.Geteuid() != 0 {
		b.CanBuild = func() error { return errLocked }
	}
	return b, Request{Suite: su, Arch: testarchive.HostArch(t)}, live, old, a
}

// TestMovedSuiteIn2031 builds, by a clock in 2031, a suite that rootctl believes to be alive, without a flag or a
// key on the host: its mirror answers 404, its archive host has it, Valid-Until has passed, the key has expired.
func TestMovedSuiteIn2031(t *testing.T) {
	b, req, live, old, _ := movedWorld(t)
	res, err := b.Build(t.Context(), req)
	if errors.Is(err, errLocked) {
		t.Log("no root rights: the Lock was made, and nothing built")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer res.Lease.Close()
	said := strings.Join(res.Info.Exceptions, "\n")
	for _, want := range []string{"a key that has expired since", "valid until 2030-06-08", "on its mirrors no more: read from its archive host " + old.URL} {
		if !strings.Contains(said, want) {
			t.Errorf("does not say %q:\n%s", want, said)
		}
	}
	if live.Count("InRelease") != 1 || live.Count("pool/") != 0 {
		t.Errorf("the live mirror was asked for %v", live.Requests())
	}
	list := res.Lock.Files[0].Content
	if !strings.Contains(list, "deb [check-valid-until=no trusted=yes] "+old.URL+" moved main\n") || strings.Contains(list, live.URL) {
		t.Errorf("apt inside would use\n%s", list)
	}
	// Back on its live mirror, it gets no leave: that one could be anybody's.
	b.Store, err = cache.Open(t.TempDir(), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	req.Mirrors, req.OnlyThese = []Mirror{{URL: old.URL + "/"}}, true
	req.Suite.Archives = nil
	_, err = b.Build(t.Context(), req)
	var untrusted *pgp.Untrusted
	if !errors.As(err, &untrusted) {
		t.Errorf("the same from a mirror that is no archive host: %v", err)
	}
}

// TestMoveNotBelieved: before its end of life a suite is not archived, whatever mirrors answer.
func TestMoveNotBelieved(t *testing.T) {
	b, req, _, old, a := movedWorld(t)
	for summary, now := range map[string]time.Time{
		"the last day":     time.Date(2030, 6, 30, 23, 59, 0, 0, time.UTC),
		"a clock put back": time.Date(2030, 6, 9, 0, 0, 0, 0, time.UTC),
	} {
		b.Now = func() time.Time { return now }
		if _, err := b.Build(t.Context(), req); !errors.Is(err, archive.ErrNotTrusted) || !strings.Contains(err.Error(), "valid until 2030-06-08") {
			t.Errorf("%s: %v", summary, err)
		}
	}
	// Past its end, an archive host still has to have it signed by the suite's keys.
	b.Now = func() time.Time { return time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC) }
	other := *a
	other.Signers = []*testarchive.Key{testarchive.NewKey("stranger")}
	old.Set(&other)
	var untrusted *pgp.Untrusted
	if _, err := b.Build(t.Context(), req); !errors.As(err, &untrusted) {
		t.Errorf("signed by a stranger: %v", err)
	}
}
