package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestKnown has a machine that has read nothing yet ask conditionally, by what another one has recorded.
func TestKnown(t *testing.T) {
	one := newWorld(t, hello())
	one.open(t)
	k, ok := KnownAt(one.o.Store, "bionic", one.srv.URL)
	if !ok {
		t.Fatal("nothing is recorded")
	}
	if _, ok := KnownAt(one.o.Store, "bionic", "http://mirror.example"); ok {
		t.Error("another mirror's is given out")
	}
	stranger := newWorld(t, hello())
	stranger.open(t)
	forged, _ := KnownAt(stranger.o.Store, "bionic", stranger.srv.URL)
	forged.Text = bytes.ReplaceAll(forged.Text, []byte(stranger.srv.URL), []byte(one.srv.URL))
	at := func(text []byte, when time.Time) []byte {
		head, body, _ := bytes.Cut(text, []byte("\n"))
		var r record
		if err := json.Unmarshal(head, &r); err != nil {
			t.Fatal(err)
		}
		r.Validators = fetch.Validators{LastModified: when.UTC().Format(http.TimeFormat), ETag: `"x"`}
		head, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(head, []byte("\n"), body)
	}
	newer := testarchive.New("bionic").Add(testarchive.Package{Name: "hello", Version: "9"})
	newer.Key, newer.Date = one.Key, one.Date.Add(48*time.Hour)
	for _, row := range []struct {
		summary string
		text    []byte
		mirror  *testarchive.Archive // what the mirror has by now
		asked   bool                 // conditionally
		want    int
	}{
		{"as it was", k.Text, nil, true, http.StatusNotModified},
		{"the archive has moved on", k.Text, newer, true, http.StatusOK},
		{"two hours after it was signed", at(k.Text, one.Date.Add(2*time.Hour)), nil, true, http.StatusNotModified},
		{"an old one given out as the new one", at(k.Text, newer.Date), newer, false, http.StatusOK},
		{"four hours after it was signed", at(k.Text, one.Date.Add(4*time.Hour)), nil, false, http.StatusOK},
		{"before it was signed", at(k.Text, one.Date.Add(-time.Hour)), nil, false, http.StatusOK},
		{"signed by a stranger", forged.Text, nil, false, http.StatusOK},
		{"changed", bytes.Replace(k.Text, []byte("Origin: "), []byte("Origin: x"), 1), nil, false, http.StatusOK},
		{"of another mirror", bytes.ReplaceAll(k.Text, []byte(one.srv.URL), []byte("http://mirror.example")), nil, false, http.StatusOK},
		{"of another suite", bytes.Replace(k.Text, []byte(`"bionic"`), []byte(`"xenial"`), 1), nil, false, http.StatusOK},
		{"cut", k.Text[:len(k.Text)/2], nil, false, http.StatusOK},
		{"nothing", nil, nil, false, http.StatusOK},
		{"no record", []byte("x"), nil, false, http.StatusOK},
	} {
		t.Run(row.summary, func(t *testing.T) {
			store, err := cache.Open(t.TempDir(), cache.Options{})
			if err != nil {
				t.Fatal(err)
			}
			o := one.o
			o.Store, o.Log = store, nil
			o.Now = func() time.Time { return newer.Date.Add(time.Hour) }
			want := one.Date
			one.srv.SetFiles(one.Files(), one.Date)
			if row.mirror != nil {
				want = row.mirror.Date
				one.srv.SetFiles(row.mirror.Files(), row.mirror.Date)
			}
			var names []cache.Digest
			o.Known = func(_ context.Context, name cache.Digest) []byte {
				names = append(names, name)
				return row.text
			}
			one.srv.Reset()
			for _, again := range []bool{false, true} {
				a, err := Open(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if r := a.Pockets[0].Release; !r.Date.Equal(want) || len(r.Signatures) != 1 {
					t.Errorf("again %v: a Release of %s, want %s", again, r.Date, want)
				}
			}
			requests := one.srv.Requests()
			if len(requests) != 2 || requests[0].Status != row.want || (requests[0].IfModifiedSince != "") != row.asked || requests[1].Status != http.StatusNotModified ||
				!strings.HasSuffix(requests[0].Path, "/InRelease") {
				t.Errorf("%+v", requests)
			}
			if len(names) != 1 || names[0] != k.Name {
				t.Errorf("asked for %q", names)
			}
		})
	}
}
