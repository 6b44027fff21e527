package archive

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// In the past, dates and keys are judged as of then; what is read there is no rollback for now, nor now for then.
func TestAt(t *testing.T) {
	a := hello()
	a.ValidUntil = a.Date.AddDate(0, 0, 7)
	a.Key = testarchive.NewKeyWith(testarchive.KeyOptions{Name: "short", Expires: a.Date.AddDate(0, 0, 9)})
	w := newWorld(t, a)
	now := a.Date.AddDate(1, 0, 0)
	w.o.Now = func() time.Time { return now }
	var untrusted *pgp.Untrusted
	if _, err := Open(t.Context(), w.o); !errors.As(err, &untrusted) {
		t.Fatalf("a key that has expired, now: %v", err)
	}
	w.o.At = a.Date.AddDate(0, 0, 1)
	if r := w.open(t).Pockets[0].Release; r.KeysExpired || len(r.Exceptions) > 0 {
		t.Errorf("the next day: %v", r.Exceptions)
	}
	w.o.At = a.Date.AddDate(0, 0, 8)
	if _, err := Open(t.Context(), w.o); !errors.Is(err, ErrNotTrusted) {
		t.Errorf("past Valid-Until, as of then: %v", err)
	}
	w.o.At = a.Date.Add(-24 * time.Hour)
	var early *Early
	if _, err := Open(t.Context(), w.o); !errors.As(err, &early) || !early.Asked {
		t.Errorf("before it was: %v", err)
	}
}

func TestAtIsNoRollback(t *testing.T) {
	a := hello()
	w := newWorld(t, a)
	then, now := a.Date.Add(time.Hour), a.Date.AddDate(1, 0, 0)
	a.Date = a.Date.AddDate(0, 6, 0)
	w.srv.Set(a)
	w.o.Now = func() time.Time { return now }
	w.open(t) // now is recorded
	a.Date = a.Date.AddDate(0, -6, 0)
	w.srv.SetFiles(a.Files(), now)
	var older *Older
	if _, err := Open(t.Context(), w.o); !errors.As(err, &older) {
		t.Fatalf("turned back: %v", err)
	}
	w.o.At = then
	if got := w.open(t).Pockets[0].Release.Date; !got.Equal(a.Date) {
		t.Errorf("then it was of %s", got)
	}
	w.o.At = time.Time{}
	if _, err := Open(t.Context(), w.o); !errors.As(err, &older) || !older.Seen.After(a.Date) {
		t.Errorf("turned back, after a look at the past: %v", err)
	}
}

// What is not at hand is named with its size.
func TestRecorded(t *testing.T) {
	w := newWorld(t, hello())
	if _, lacks, err := Recorded(w.o); err != nil || len(lacks) != 1 || lacks[0].Name != "Release of bionic" {
		t.Errorf("nothing is there: %v, %v", lacks, err)
	}
	ar := w.open(t)
	_, lacks, err := Recorded(w.o)
	if err != nil || len(lacks) != 1 || lacks[0].Size == 0 || lacks[0].Name != "main/binary-amd64/Packages.xz of bionic" {
		t.Errorf("the index is missing: %+v, %v", lacks, err)
	}
	if _, err := ar.Packages(t.Context(), ar.Pockets[0], "main"); err != nil {
		t.Fatal(err)
	}
	if _, lacks, err := Recorded(w.o); err != nil || len(lacks) != 0 {
		t.Errorf("all is there: %v, %v", lacks, err)
	}
}

// What was read from another mirror is at hand, too, where its Release is by keys that this request trusts: the newest
// whose indices are there.
func TestRecordedElsewhere(t *testing.T) {
	w := newWorld(t, hello())
	date := w.Date
	w.o.Now = func() time.Time { return date.AddDate(0, 0, 9) }
	read := func(days int, key *testarchive.Key, indices bool) string {
		t.Helper()
		a := hello().Add(testarchive.Package{Name: "more", Version: fmt.Sprint(days)})
		a.Key, a.Date = key, date.AddDate(0, 0, days)
		o, srv := w.o, a.Serve(t)
		keys, err := pgp.ReadKeyring(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		o.Keyring, o.Mirrors = keys, []string{srv.URL}
		ar, err := Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if indices {
			index(t, ar)
		}
		return srv.URL
	}
	expect := func(summary string, o Options, mirror string) {
		t.Helper()
		ar, lacks, err := Recorded(o)
		switch {
		case err != nil:
			t.Errorf("%s: %v", summary, err)
		case mirror == "" && (len(lacks) != 1 || lacks[0].Name != "Release of bionic"):
			t.Errorf("%s: lacks %v", summary, lacks)
		case mirror != "" && (len(lacks) != 0 || ar.Pockets[0].Mirror != mirror):
			t.Errorf("%s: from %q, lacks %v", summary, ar.Pockets[0].Mirror, lacks)
		}
	}
	strange := read(5, testarchive.NewKey("stranger"), true)
	w.o.Elsewhere = true
	expect("by a key that is not trusted", w.o, "")
	o := w.o
	o.NoVerify = true
	expect("without verifying", o, strange)
	older, newer := read(1, w.Key, true), read(2, w.Key, true)
	read(3, w.Key, false)
	expect("the newest that is whole", w.o, newer)
	o = w.o
	o.Mirrors = []string{older}
	expect("the one that is named", o, older)
	o = w.o
	o.Elsewhere = false
	expect("without being asked to", o, "")
	o = w.o
	o.At = date
	expect("of the past", o, "")
	index(t, w.open(t))
	expect("newer than the suite's own", w.o, newer)
}

// A pool's mirrors are asked in turn, whatever is wrong with one of them.
func TestPool(t *testing.T) {
	a := hello()
	good := newWorld(t, a)
	f := pool(t, index(t, good.open(t)), "hello")
	serve := func(fault testarchive.Fault) string {
		s := a.Serve(t)
		s.Fault(fault)
		return s.URL
	}
	bent := serve(testarchive.Fault{Path: "hello_*.deb", Corrupt: true})
	lacks := serve(testarchive.Fault{Path: "hello_*.deb", Status: 404})
	broken := serve(testarchive.Fault{Path: "hello_*.deb", Status: 500})
	denied := serve(testarchive.Fault{Path: "hello_*.deb", Status: 403})
	short := serve(testarchive.Fault{Path: "hello_*.deb", Body: []byte("short")})
	cut := serve(testarchive.Fault{Path: "hello_*.deb", Truncate: 50})
	for _, tt := range []struct {
		summary string
		mirrors []string
		want    error // nil: the file is there
	}{
		{"the first has it", []string{good.srv.URL}, nil},
		{"others before it", []string{"http://127.0.0.1:1", lacks, broken, denied, short, cut, bent, good.srv.URL + "/"}, nil},
		{"no mirror", nil, ErrNotFound},
		{"nobody has it", []string{lacks, broken}, ErrNotFound},
		{"wrong bytes alone", []string{lacks, bent}, ErrNotTrusted},
		{"not a URL", []string{"gopher://x"}, ErrNotFound},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			w := newWorld(t, a)
			l := &Pool{Mirrors: map[string][]string{"release": tt.mirrors}, Store: w.o.Store, Log: w.o.Log,
				Client: &fetch.Client{Attempts: 2, Stall: time.Second, Backoff: time.Millisecond}}
			err := l.Fetch(t.Context(), "release", f)
			if have := w.o.Store.HasDownload(f.SHA256, f.Size); have != (tt.want == nil) || !errors.Is(err, tt.want) {
				t.Errorf("there: %v; %v", have, err)
			}
			var none *Unavailable
			if err != nil && (!errors.As(err, &none) || len(none.Tried) != len(tt.mirrors) || none.Hint() == "") {
				t.Errorf("%#v", err)
			}
		})
	}
	if err := new(Pool).Fetch(t.Context(), "release", File{Path: "../x", Size: 1, SHA256: f.SHA256}); err == nil {
		t.Error("a path that leaves the mirror")
	}
}
