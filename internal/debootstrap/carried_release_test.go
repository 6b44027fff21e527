package debootstrap

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/cache/parcel"
	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// carriedWorld is a Lock of an archive, and what travels of its signed indices.
type carriedWorld struct {
	*keyWorld
	lock    *Lock
	record  parcel.Record
	indices []archive.File
}

func newCarriedWorld(t *testing.T) *carriedWorld {
	t.Helper()
	w := &carriedWorld{keyWorld: newSmallWorld(t)}
	w.carry(t)
	return w
}

func (w *carriedWorld) carry(t *testing.T) {
	t.Helper()
	l, err := w.Lock(t.Context(), w.req)
	if err != nil {
		t.Fatal(err)
	}
	records, indices, lacks := w.CarryReleases(l.Lock, w.req)
	if len(records) != 1 || len(indices) != 1 || lacks != nil {
		t.Fatalf("%v %v %v", records, indices, lacks)
	}
	w.lock, w.record, w.indices = l.Lock, records[0], indices
}

// forged is the record, changed.
func (w *carriedWorld) forged(t *testing.T, change func(*carriedRelease)) parcel.Record {
	t.Helper()
	c, err := readCarriedRelease(w.record)
	if err != nil {
		t.Fatal(err)
	}
	change(&c)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	r := w.record
	r.Text = string(text)
	return r
}

// other is what an archive, changed, would have sent.
func (w *carriedWorld) other(t *testing.T, change func(*testarchive.Archive)) parcel.Record {
	t.Helper()
	a := testarchive.New("bionic")
	a.Arches, a.Date, a.Key = w.archive.Arches, w.archive.Date, w.archive.Key
	a.Add(testarchive.Package{Name: "dpkg", Version: "66", Fields: map[string]string{"Priority": "required"}})
	change(a)
	var inline []byte
	for path, b := range a.Files() {
		if strings.HasSuffix(path, "/InRelease") {
			inline = b
		}
	}
	return w.forged(t, func(c *carriedRelease) { c.Inline = inline })
}

func TestCarriedReleases(t *testing.T) {
	w := newCarriedWorld(t)
	from := w.Store
	w.newStore(t)
	if refused, err := w.KeepReleases([]parcel.Record{w.record}); err != nil || refused != nil {
		t.Fatal(refused, err)
	}
	w.req.Offline, w.req.OnlyThese, w.req.Mirrors = true, false, nil
	if _, err := w.Lock(t.Context(), w.req); err == nil || !strings.Contains(err.Error(), "indices") {
		t.Errorf("without the index: %v", err)
	}
	for _, f := range w.indices {
		in, err := from.OpenDownload(f.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "index")
		out, err := os.Create(path)
		if err == nil {
			_, err = io.Copy(out, in)
		}
		if err == nil {
			err = w.Store.KeepDownload(t.Context(), path, f.SHA256, f.Size)
		}
		if err != nil {
			t.Fatal(err)
		}
		in.Close()
		out.Close()
	}
	l, err := w.Lock(t.Context(), w.req)
	if err != nil {
		t.Fatal(err)
	}
	if KeyOf(l.Lock) != KeyOf(w.lock) || l.Lock.Releases[0].Digest != w.lock.Releases[0].Digest {
		t.Error("another root is chosen by the same index")
	}
	w.req.Include = []string{"hello"}
	if l, err = w.Lock(t.Context(), w.req); err != nil || len(l.Lock.Packages) != len(w.lock.Packages)+1 {
		t.Errorf("a root that nobody locked: %v", err)
	}
}

// What a file says of signed indices is worth as much as their signatures: nothing else is recorded, and the next
// resolution reads the archive as if the file had never been there.
func TestForgedReleases(t *testing.T) {
	stranger := testarchive.NewKey("stranger")
	for _, tt := range []struct {
		summary string
		forge   func(*testing.T, *carriedWorld) parcel.Record
		why     string // "" is no record at all
	}{
		{"a flipped byte", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Inline[len(c.Inline)/3] ^= 1 })
		}, "verify Release"},
		{"a stranger's signature", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.other(t, func(a *testarchive.Archive) { a.Signers = []*testarchive.Key{stranger} })
		}, "not in the keyring"},
		{"no signature", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Inline, c.Text = nil, []byte("Suite: bionic\n") })
		}, "no signature"},
		{"another suite's", func(t *testing.T, w *carriedWorld) parcel.Record {
			r := w.other(t, func(a *testarchive.Archive) { a.Suite, a.Codename = "focal", "focal" })
			return w.named(t, r)
		}, `not of bionic`},
		{"another pocket's", func(t *testing.T, w *carriedWorld) parcel.Record {
			r := w.other(t, func(a *testarchive.Archive) { a.Suite = "bionic-updates" })
			return w.named(t, r)
		}, `not of bionic`},
		{"one that is signed, under the digest of another", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.other(t, func(*testarchive.Archive) {})
		}, "another Release"},
		{"from the future", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.named(t, w.other(t, func(a *testarchive.Archive) { a.Date = time.Now().AddDate(30, 0, 0) }))
		}, "but here it is"},
		{"an unknown suite", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Suite = "noble-not" })
		}, "no suite"},
		{"an unknown pocket", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Pocket = "attic" })
		}, "no pocket"},
		{"a mirror with a password", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Mirror = "http://me:pw@mirror.example" })
		}, ""},
		{"no mirror", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Mirror = "../../etc" })
		}, ""},
		{"a suite that leads elsewhere", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Suite = "../../etc" })
		}, ""},
		{"nothing", func(t *testing.T, w *carriedWorld) parcel.Record {
			return w.forged(t, func(c *carriedRelease) { c.Inline = nil })
		}, ""},
		{"a date beside what is signed", func(_ *testing.T, w *carriedWorld) parcel.Record {
			r := w.record
			r.Text = strings.Replace(r.Text, "{", `{"date":"2099-01-01T00:00:00Z",`, 1)
			return r
		}, ""},
		{"no JSON", func(_ *testing.T, w *carriedWorld) parcel.Record {
			return parcel.Record{Folder: "releases", Name: w.record.Name, Text: "bionic"}
		}, ""},
		{"a name that leads elsewhere", func(_ *testing.T, w *carriedWorld) parcel.Record {
			return parcel.Record{Folder: "releases", Name: "../actions/x", Text: w.record.Text}
		}, ""},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			w := newCarriedWorld(t)
			r := tt.forge(t, w)
			w.newStore(t)
			err := CheckCarried(&parcel.Index{Records: []parcel.Record{r}})
			if tt.why == "" {
				if err == nil {
					t.Error("no reader minds it")
				}
			} else {
				refused, kept := w.KeepReleases([]parcel.Record{r})
				if err != nil || kept != nil || len(refused) != 1 || !strings.Contains(refused[0].Error(), tt.why) {
					t.Errorf("%v %v %v, want %s", err, refused, kept, tt.why)
				}
			}
			if ids, err := w.Store.Releases(); err != nil || len(ids) > 0 {
				t.Errorf("recorded: %v %v", ids, err)
			}
			if l, err := w.Lock(t.Context(), w.req); err != nil || KeyOf(l.Lock) != KeyOf(w.lock) {
				t.Errorf("the archive's own: %v", err)
			}
		})
	}
}

// named gives a record the name that its text has by rights.
func (w *carriedWorld) named(t *testing.T, r parcel.Record) parcel.Record {
	t.Helper()
	c, err := readCarriedRelease(r)
	if err != nil {
		t.Fatal(err)
	}
	text := string(c.Inline)
	_, text, _ = strings.Cut(text, "\n\n")
	text, _, _ = strings.Cut(text, "\n-----BEGIN PGP SIGNATURE")
	r.Name = string(cache.Sum([]byte(text + "\n")))
	return r
}

// A Release that came from elsewhere never takes the place of one that is as new, and one that is newer does: neither says
// when the mirror was asked.
func TestCarriedReleaseIsNoRollback(t *testing.T) {
	w := newCarriedWorld(t)
	old := w.record
	w.upgrade(t, "2.0", "hello")
	w.carry(t)
	ids, err := w.Store.Releases()
	if err != nil || len(ids) != 1 {
		t.Fatal(ids, err)
	}
	before, err := w.Store.LoadRelease(ids[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []parcel.Record{old, w.record} {
		if refused, err := w.KeepReleases([]parcel.Record{r}); err != nil || refused != nil {
			t.Fatal(refused, err)
		}
		if now, err := w.Store.LoadRelease(ids[0]); err != nil || string(now) != string(before) {
			t.Errorf("it was replaced: %v", err)
		}
	}
	w.newStore(t)
	for _, r := range []parcel.Record{old, w.record, old} {
		if refused, err := w.KeepReleases([]parcel.Record{r}); err != nil || refused != nil {
			t.Fatal(refused, err)
		}
	}
	now, err := w.Store.LoadRelease(ids[0])
	if head, _, _ := strings.Cut(string(now), "\n"); err != nil || !strings.Contains(head, w.archive.Date.Format("2006-01-02")) || !strings.Contains(head, `"checked":"0001`) || strings.Contains(head, "GMT") {
		t.Errorf("%v %s", err, head)
	}
	if l, err := w.Lock(t.Context(), w.req); err != nil || KeyOf(l.Lock) != KeyOf(w.lock) {
		t.Error(err)
	}
}
