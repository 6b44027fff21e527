package archive

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestRefused has Releases that must not be used, by what is wrong with them.
func TestRefused(t *testing.T) {
	stranger := testarchive.NewKey("stranger")
	expired := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "expired", Expires: testarchive.Epoch.Add(time.Minute)})
	for _, c := range []struct {
		summary string
		change  func(w *world)
		is      error // nil: *pgp.Untrusted
		says    string
		hint    string
	}{
		{"nobody signed", func(w *world) { w.Signers = []*testarchive.Key{}; w.NoInline = true }, nil, "not signed", "--keyring"},
		{"stripped signature", func(w *world) { w.plainInRelease(nil) }, nil, "", "--keyring"},
		{"not even a message", func(w *world) { w.plainInRelease([]byte("<html>log in</html>")) }, nil, "", "--keyring"},
		{"empty", func(w *world) { w.plainInRelease([]byte{}) }, nil, "", "--keyring"},
		{"a stranger signed", func(w *world) { w.Signers = []*testarchive.Key{stranger} }, nil, stranger.ID(), "--keyring"},
		{"a stranger signed Release.gpg", func(w *world) { w.Signers = []*testarchive.Key{stranger}; w.NoInline = true }, nil, stranger.ID(), "--keyring"},
		{"text changed", func(w *world) { w.replaceInRelease("Origin: Test", "Origin: Tesu") }, nil, "", "--keyring"},
		{"text added before", func(w *world) { w.replaceInRelease("-----BEGIN PGP SIGNED", "Codename: evil\n-----BEGIN PGP SIGNED") }, nil, "", "--keyring"},
		{"key expired", func(w *world) {
			w.Signers, w.SignedAt = []*testarchive.Key{expired}, testarchive.Epoch
			w.trust(expired)
		}, nil, "expired", "--keyring"},
		{"another suite", func(w *world) { w.Archive.Suite, w.Codename = "focal", "focal"; w.serveAs("focal", "bionic") }, ErrNotTrusted, `"focal"`, "another --mirror"},
		{"a pocket for its suite", func(w *world) {
			w.Archive.Suite = "bionic-updates"
			w.serveAs("bionic-updates", "bionic")
		}, ErrNotTrusted, `"bionic-updates"`, "another --mirror"},
		{"expired", func(w *world) { w.ValidUntil = w.Date.Add(time.Minute) }, ErrNotTrusted, "valid until 2024-01-02", "--allow-expired"},
		{"from the future", func(w *world) {
			date := w.Date
			w.o.Now = func() time.Time { return date.Add(-time.Hour) }
			w.SignedAt = date.Add(-2 * time.Hour)
		}, ErrNotTrusted, "is dated", "clock"},
		{"no sums", func(w *world) { w.Release = map[string]string{"SHA256": ""} }, errAny, "no SHA256", "another --mirror"},
		{"only weak sums", func(w *world) {
			w.Release = map[string]string{"SHA256": "", "MD5Sum": "\n " + strings.Repeat("0", 32) + " 1 x"}
		}, errAny, "no SHA256", "another --mirror"},
		{"no date", func(w *world) { w.Release = map[string]string{"Date": ""} }, errAny, "no Date", "another --mirror"},
		{"path out", func(w *world) {
			w.Release = map[string]string{"SHA256": "\n " + strings.Repeat("0", 64) + " 1 ../../x"}
		}, errAny, "bad path", "another --mirror"},
		{"nothing there", func(w *world) { w.NoInline, w.NoDetached = true, true }, ErrNotFound, "says 404", "another --mirror"},
		{"endless", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Endless: true}) }, fetch.ErrSize, "", "another --mirror"},
		{"denied", func(w *world) { w.srv.Handler.User = "u" }, fetch.ErrDenied, "401", "USER:PASSWORD"},
		{"silent", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Stall: -1}) }, ErrOffline, "stalled", "network"},
		{"cut", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Truncate: 100}) }, ErrOffline, "EOF", "network"},
		{"broken", func(w *world) { w.srv.Fault(testarchive.Fault{Path: "InRelease", Status: 500}) }, ErrOffline, "500", "network"},
		{"closed", func(w *world) { w.o.Mirrors = []string{"http://127.0.0.1:1/ubuntu"} }, ErrOffline, "refused", "network"},
		{"one has it not, one is closed", func(w *world) {
			w.o.Mirrors = []string{w.srv.URL + "/elsewhere", "http://127.0.0.1:1/ubuntu"}
		}, ErrOffline, "says 404", "network"},
		{"not a mirror", func(w *world) { w.o.Mirrors = []string{"ftp://127.0.0.1/ubuntu"} }, errAny, "http, https", "another --mirror"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			c.change(w)
			if w.Overlay == nil {
				w.srv.Set(w.Archive)
			} else {
				w.srv.SetFiles(w.Files(), w.Date)
			}
			_, err := Open(t.Context(), w.o)
			if err == nil {
				t.Fatal("accepted")
			}
			var u *pgp.Untrusted
			if errors.As(err, &u) != (c.is == nil) {
				t.Errorf("untrusted is %v: %v", !(c.is == nil), err)
			}
			if c.is != nil && c.is != errAny && !errors.Is(err, c.is) {
				t.Errorf("not %v: %v", c.is, err)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("does not say %q: %v", c.says, err)
			}
			var h interface{ Hint() string }
			if !errors.As(err, &h) || !strings.Contains(h.Hint(), c.hint) {
				t.Errorf("no hint %q: %v", c.hint, err)
			}
			if _, err := w.o.Store.LoadRelease("bionic"); err == nil {
				t.Error("recorded what was refused")
			}
			if strings.Contains(w.log.String(), "level=WARN") {
				t.Errorf("warns beside the error: %s", w.log.String())
			}
			// With a good mirror behind it, the bad one does not matter.
			good := hello()
			good.Key = w.Key
			mirror := w.srv.URL
			if len(w.o.Mirrors) > 0 {
				mirror = w.o.Mirrors[0]
			}
			w.o.Mirrors = []string{mirror, good.Serve(t).URL}
			if c.summary == "key expired" || c.summary == "from the future" {
				return // so would the good one be
			}
			a, err := Open(t.Context(), w.o)
			if err != nil || a.Pockets[0].Mirror != w.o.Mirrors[1] {
				t.Errorf("with a good mirror: %v", err)
			}
			if warns := strings.Count(w.log.String(), "level=WARN"); (warns == 0) != strings.Contains(c.says, "says 404") {
				t.Errorf("%d warnings: %s", warns, w.log.String())
			}
		})
	}
}

// TestExcused accepts, and says so.
func TestExcused(t *testing.T) {
	expired := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "expired", Expires: testarchive.Epoch.Add(time.Minute)})
	for _, c := range []struct {
		summary string
		change  func(w *world)
		says    string
	}{
		{"a stranger beside", func(w *world) { w.Signers = []*testarchive.Key{testarchive.NewKey("stranger"), w.Key} }, ""},
		{"--allow-expired", func(w *world) { w.ValidUntil = w.Date.Add(time.Minute); w.o.AllowExpired = true }, "valid until"},
		{"archived, Valid-Until", func(w *world) { w.ValidUntil = w.Date.Add(time.Minute); w.o.Suite.Archived = true }, "valid until"},
		{"archived, key", func(w *world) {
			w.Signers, w.SignedAt = []*testarchive.Key{expired}, testarchive.Epoch
			w.trust(expired)
			w.o.Suite.Archived = true
		}, "expired since"},
		{"archived, one key lives", func(w *world) {
			w.Signers, w.SignedAt = []*testarchive.Key{expired, w.Key}, testarchive.Epoch
			w.trust(expired, w.Key)
			w.o.Suite.Archived = true
		}, ""},
		{"suite by codename", func(w *world) { w.Archive.Suite = "oldstable"; w.serveAs("oldstable", "bionic") }, ""},
		{"suite by name", func(w *world) { w.Codename = "eighteen" }, ""},
		{"still valid", func(w *world) { w.ValidUntil = w.Date.Add(2 * time.Hour) }, ""},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			c.change(w)
			w.srv.SetFiles(w.Files(), w.Date)
			r := w.open(t).Pockets[0].Release
			if got := strings.Join(r.Exceptions, "; "); !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
				t.Errorf("exceptions %q, want %q", got, c.says)
			}
			if r.Unverified || len(r.Signatures) == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestNoVerify(t *testing.T) {
	for _, inline := range []bool{true, false} {
		w := newWorld(t, hello())
		w.Signers = []*testarchive.Key{testarchive.NewKey("stranger")}
		if w.NoInline = !inline; !inline {
			w.Signers = []*testarchive.Key{}
		}
		w.srv.Set(w.Archive)
		w.o.NoVerify, w.o.Keyring = true, nil
		a := w.open(t)
		if r := a.Pockets[0].Release; !r.Unverified || len(r.Signatures) > 0 || r.Label != "Test" {
			t.Errorf("inline %v: %+v", inline, r)
		}
		pool(t, index(t, a), "world")
		if _, err := w.o.Store.LoadRelease("bionic"); err == nil {
			t.Error("an unverified Release was recorded")
		}
	}
}

func TestRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	w.open(t)
	old := hello()
	old.Key, old.Date = w.Key, w.Date.Add(-time.Hour)
	w.srv.SetFiles(old.Files(), w.Date.Add(time.Hour)) // or else it is answered with "not modified"
	_, err := Open(t.Context(), w.o)
	var older *Older
	if !errors.As(err, &older) || !errors.Is(err, ErrNotTrusted) || !older.Seen.Equal(w.Date) || !strings.Contains(older.Hint(), "--allow-older") {
		t.Fatalf("an older Release: %v", err)
	}
	// The suite's other mirror has the newer one.
	next := w.Archive.Serve(t)
	w.o.Suite.Mirrors = map[string][]string{"default": {w.srv.URL, next.URL}}
	if a := w.open(t); a.Pockets[0].Mirror != next.URL {
		t.Errorf("mirror %s", a.Pockets[0].Mirror)
	}
	// Another mirror is another source: it may be a snapshot of long ago.
	snapshot := old.Serve(t)
	w.o.Mirrors = []string{snapshot.URL}
	w.open(t)
	w.o.Mirrors = nil
	w.o.Suite.Mirrors["default"] = []string{w.srv.URL}
	w.o.AllowOlder = true
	if r := w.open(t).Pockets[0].Release; len(r.Exceptions) != 1 || !strings.Contains(r.Exceptions[0], "older than") {
		t.Errorf("exceptions %q", r.Exceptions)
	}
	// A fresh install of the newer one works again.
	w.o.AllowOlder = false
	w.srv.SetFiles(w.Files(), w.Date.Add(2*time.Hour))
	w.open(t)
}

// TestMoved has suites that are not where they were: where each is looked for, and what counts there.
func TestMoved(t *testing.T) {
	const eol = "2024-06-30"
	expiring := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "expiring", Expires: testarchive.Epoch.AddDate(0, 6, 0)})
	before, after := time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2031, 3, 1, 0, 0, 0, 0, time.UTC)
	type host string // what it answers: "absent", "silent", "old" (past Valid-Until, key expired), "good"
	for _, c := range []struct {
		summary       string
		live, archive host
		archived      bool
		eol           string
		now           time.Time
		from          string // "live", "archive", "" is refused
		says          string
	}{
		{"alive", "good", "absent", false, eol, before, "live", ""},
		{"alive, moved early", "absent", "good", false, eol, before, "archive", "on its mirrors no more"},
		{"past its end, still there", "good", "absent", false, eol, after, "live", ""},
		{"past its end, moved", "absent", "old", false, eol, after, "archive", "expired since"},
		{"archived", "absent", "old", true, eol, after, "archive", "valid until"},
		{"archived, but back", "old", "absent", true, eol, after, "live", "not on its archive host"},

		{"a hostile mirror serves an old one of a live suite", "old", "absent", false, eol, before, "", "valid until"},
		{"a hostile mirror hides a live suite, its archive host has an old one", "absent", "old", false, eol, before, "", "valid until"},
		{"a hostile mirror serves an old one of an ended suite", "old", "absent", false, eol, after, "", "expired"},
		{"a suite without end", "absent", "old", false, "", after, "", "expired"},
		{"a silent mirror says nothing of a move", "silent", "good", false, eol, before, "", "stalled"},
		{"nowhere", "absent", "absent", false, eol, after, "", "says 404"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hello())
			serve := func(h host) *testarchive.Server {
				a := hello()
				switch h {
				case "old": // its key expires in July 2024; Valid-Until is in January
					a.Key, a.ValidUntil = expiring, a.Date.AddDate(0, 0, 7)
				case "good":
					a.Key = w.Key
				}
				s := a.Serve(t)
				switch h {
				case "silent":
					s.Fault(testarchive.Fault{Path: "InRelease", Stall: -1})
				case "absent":
					s.SetFiles(map[string][]byte{"x": nil}, a.Date)
				}
				return s
			}
			live, archive := serve(c.live), serve(c.archive)
			w.trust(w.Key, expiring)
			w.o.Suite.Mirrors = map[string][]string{"default": {live.URL}}
			w.o.Suite.Archives = map[string][]string{"default": {archive.URL + "/"}}
			w.o.Suite.Archived, w.o.Suite.EOL = c.archived, c.eol
			w.o.Now = func() time.Time { return c.now }
			a, err := Open(t.Context(), w.o)
			if c.from == "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("taken, or refused for another reason: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := map[string]string{"live": live.URL, "archive": archive.URL}[c.from]; a.Pockets[0].Mirror != want {
				t.Errorf("read from %s, want the %s host", a.Pockets[0].Mirror, c.from)
			}
			if got := strings.Join(a.Pockets[0].Release.Exceptions, "; "); !strings.Contains(got, c.says) || (got == "") != (c.says == "") {
				t.Errorf("exceptions %q, want %q", got, c.says)
			}
		})
	}
}

// TestSecuritySuite: up to buster, Debian's security suites are called SUITE/updates and say SUITE.
func TestSecuritySuite(t *testing.T) {
	for _, c := range []struct {
		label, suite, codename string
		ok                     bool
	}{
		{"Debian-Security", "oldstable", "stretch", true},
		{"Debian-Security", "oldstable", "stretch/updates", true},
		{"Debian-Security", "oldstable", "buster", false},
		{"Debian", "oldstable", "stretch", false},
	} {
		if got := isSuite(&Release{Label: c.label, Suite: c.suite, Codename: c.codename}, "stretch/updates"); got != c.ok {
			t.Errorf("%+v: %v", c, got)
		}
	}
}
