package pgp

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/suites"
)

// TestArchives verifies what the real archives publish, as gpgv does, with the keyrings rootctl
// embeds.
func TestArchives(t *testing.T) {
	if os.Getenv("ROOTCTL_E2E") != "1" {
		t.Skip("needs the network: set ROOTCTL_E2E=1")
	}
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	bionic, err := set.Lookup("bionic")
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Keyring(bionic)
	if err != nil {
		t.Fatal(err)
	}
	k, err := ReadKeyring(files...)
	if err != nil {
		t.Fatal(err)
	}
	for _, suite := range []string{"xenial", "bionic", "focal", "jammy", "noble", "resolute"} {
		t.Run(suite, func(t *testing.T) {
			dists := strings.TrimSuffix(bionic.MirrorsFor("amd64")[0], "/") + "/dists/" + suite + "/"
			in := download(t, dists+"InRelease")
			o := Options{Now: time.Now(), AllowExpiredKeys: true}
			body, sigs, err := k.Cleartext(in, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", sigs)
			if !bytes.Contains(body, []byte("\nCodename: "+suite+"\n")) {
				t.Errorf("no Codename in %.300q", body)
			}
			g := newGuard(t, binary(t, files)...)
			if want, status, good := g.cleartext(t, in); !good || !bytes.Equal(want, body) {
				t.Errorf("gpgv: %s", status)
			}
			release := download(t, dists+"Release")
			if _, err := k.Detached(release, download(t, dists+"Release.gpg"), o); err != nil {
				t.Error(err)
			}
			_, err = k.Detached(bytes.Replace(release, []byte("Origin"), []byte("origin"), 1), download(t, dists+"Release.gpg"), o)
			wants(t, err, "bad signature")
			_, _, err = k.Cleartext(bytes.Replace(in, []byte("Origin"), []byte("origin"), 1), o)
			wants(t, err, "bad signature")
			_, _, err = k.Cleartext(append(in, "Suite: sid\n"...), o)
			wants(t, err, "follows")
		})
	}
}

// TestHostLists verifies the InRelease files apt keeps on this machine, as gpgv does.
func TestHostLists(t *testing.T) {
	lists, _ := filepath.Glob("/var/lib/apt/lists/*_InRelease")
	keyrings, _ := filepath.Glob("/usr/share/keyrings/*-archive-*.gpg")
	if len(lists) == 0 || len(keyrings) == 0 {
		t.Skip("needs apt lists and archive keyrings: run apt-get update")
	}
	var files [][]byte
	for _, path := range keyrings {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	k, err := ReadKeyring(files...)
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(t, files...)
	for _, path := range lists {
		msg, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		body, sigs, err := k.Cleartext(msg, Options{Now: time.Now()})
		want, status, good := g.cleartext(t, msg)
		if (err == nil) != good || good && !bytes.Equal(body, want) {
			t.Errorf("%s: %v %+v\ngpgv: %s", filepath.Base(path), err, sigs, status)
		}
		if n := strings.Count(status, "[GNUPG:] GOODSIG"); n != len(sigs) {
			t.Errorf("%s: %d good signatures, gpgv has %d: %s", filepath.Base(path), len(sigs), n, status)
		}
	}
}

// binary makes files what gpgv reads.
func binary(t *testing.T, files [][]byte) (out [][]byte) {
	for _, f := range files {
		if isArmored(f) {
			plain, err := dearmor(f, "PGP PUBLIC KEY BLOCK")
			if err != nil {
				t.Fatal(err)
			}
			f = plain
		}
		out = append(out, f)
	}
	return out
}

func download(t *testing.T, url string) []byte {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, maxMessage))
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", r.Status)
	}
	if err != nil {
		t.Fatalf("%s: %v", strings.TrimPrefix(url, "http://"), err)
	}
	return b
}
