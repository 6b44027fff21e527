package archive

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// TestSecrets uses a mirror with a password, lets all kinds of things go wrong, and looks for it in
// whatever is said or kept.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, hello())
	w.srv.Handler.User, w.srv.Handler.Password = "anna", "s3cret"
	withPassword := strings.Replace(w.srv.URL, "http://", "http://anna:s3cret@", 1)
	w.o.Mirrors = []string{withPassword}
	a := w.open(t)
	var said strings.Builder
	say := func(v any) {
		if v == nil {
			t.Error("no error")
		}
		fmt.Fprintf(&said, "%v\n", v)
		var off *Offline
		if err, ok := v.(error); ok && errors.As(err, &off) {
			fmt.Fprintf(&said, "%+v\n", *off)
		}
	}
	f := pool(t, index(t, a), "hello")
	say(a.Pockets[0].Mirror)
	say(fmt.Sprintf("%+v", *a.Pockets[0].Release))
	for _, fault := range []testarchive.Fault{{Path: "*", Status: 500}, {Path: "*", Status: 404}, {Path: "*", Corrupt: true}, {Path: "*", Endless: true}, {Path: "*", Stall: -1}} {
		w.srv.Handler.Reset()
		w.srv.Fault(fault)
		if err := w.o.Store.StoreRelease(a.recordID(a.Pockets[0], withPassword), nil, nil); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), w.o)
		say(err)
		say(a.Fetch(t.Context(), "release", f))
		_, err = a.Refresh(t.Context())
		say(err)
		a = must(t, w)
	}
	w.srv.Handler.Reset()
	w.srv.Handler.Password = "changed"
	_, err := Open(t.Context(), w.o)
	say(err)
	for _, bad := range []string{"ftp://anna:s3cret@h/", "http://anna:s3cret@h:x/", "http://anna:s3cret@h/?x", "http://anna:s3cret@[/"} {
		w.o.Mirrors = []string{bad}
		_, err := Open(t.Context(), w.o)
		say(err)
	}
	err = filepath.WalkDir(w.o.Store.Dir(), func(p string, d os.DirEntry, err error) error {
		said.WriteString(p)
		if err == nil && d.Type().IsRegular() {
			var f *os.File
			if f, err = os.Open(p); err == nil {
				defer f.Close()
				_, err = io.Copy(&said, f)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{said.String(), w.log.String()} {
		if text == "" || strings.Contains(text, "s3cret") || strings.Contains(text, "anna") {
			t.Errorf("says\n%s", text)
		}
	}
}
