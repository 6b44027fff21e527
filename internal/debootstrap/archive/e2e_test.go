package archive

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/cache"
	"github.com/rootctl/rootctl/internal/debootstrap/control"
	"github.com/rootctl/rootctl/internal/debootstrap/fetch"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/suites"
)

// TestRealArchives reads the real archives with the keys and mirrors that are built in; for Debian,
// the mirrors of the host go first.
func TestRealArchives(t *testing.T) {
	if os.Getenv("ROOTCTL_E2E") == "" {
		t.Skip("needs the network: set ROOTCTL_E2E=1")
	}
	set, err := suites.Load()
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.Open(t.TempDir(), cache.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Those whose live mirrors stay: others have moved, or are re-signed too seldom at some mirrors.
	for _, name := range []string{"xenial", "bionic", "noble", "bullseye", "bookworm", "trixie"} {
		t.Run(name, func(t *testing.T) {
			su, err := set.Lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			keys, err := set.Keyring(su)
			if err != nil {
				t.Fatal(err)
			}
			keyring, err := pgp.ReadKeyring(keys...)
			if err != nil {
				t.Fatal(err)
			}
			o := Options{Suite: su, Keyring: keyring, Arch: "amd64", Client: &fetch.Client{}, Store: store,
				Pockets: []string{"release", "updates", "security"}, PocketMirrors: map[string][]string{}}
			for _, p := range o.Pockets {
				s, _ := su.Pocket(p)
				o.PocketMirrors[p] = append(HostMirrors(os.DirFS("/"), su.Family, p, "amd64"), s.MirrorsFor("amd64")...)
			}
			o.Mirrors = o.PocketMirrors["release"]
			for range 2 { // from the network, then from the store
				start := time.Now()
				a, err := Open(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range a.Pockets {
					began := time.Now()
					text, err := a.Packages(t.Context(), p, "main")
					if err != nil {
						t.Fatal(err)
					}
					n := 0
					for _, err := range control.Paragraphs(text) {
						if n++; err != nil {
							t.Fatal(err)
						}
					}
					t.Logf("%s of %s: %v, %d packages, %d MB, %.0f MB/s: %v", p.Suite, p.Mirror, p.Release.Date, n, len(text)>>20, o.Client.Rate()/1e6, time.Since(began))
					if n == 0 {
						t.Errorf("%s has no packages", p.Suite)
					}
				}
				t.Logf("%v", time.Since(start))
				if changed, err := a.Refresh(t.Context()); err != nil || changed {
					t.Errorf("refresh: %v, %v", changed, err)
				}
			}
			a, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			fetchOne(t, a, "hostname")
			wrong := a.Pockets[0].Release.Files["main/binary-amd64/Packages.gz"]
			wrong.Path = "pool/main/h/hostname/absent_1_amd64.deb"
			var stale *Stale
			if err := a.Fetch(t.Context(), "security", File{wrong.Path, 7, cache.Sum(nil), ""}); !errors.As(err, &stale) {
				t.Errorf("absent file: %v", err)
			}
		})
	}
}

func fetchOne(t *testing.T, a *Archive, name string) {
	text, err := a.Packages(t.Context(), a.Pockets[0], "main")
	if err != nil {
		t.Fatal(err)
	}
	i := strings.Index(text, "\nPackage: "+name+"\n")
	if i < 0 {
		t.Fatalf("no package %s", name)
	}
	stanza, _, _ := strings.Cut(text[i+1:], "\n\n")
	f := File{Path: control.Field(stanza, "Filename"), SHA256: cache.Digest(control.Field(stanza, "SHA256"))}
	for _, c := range control.Field(stanza, "Size") {
		f.Size = f.Size*10 + int64(c-'0')
	}
	if err := a.Fetch(t.Context(), "release", f); err != nil {
		t.Fatal(err)
	}
	if err := a.o.Store.VerifyDownload(t.Context(), f.SHA256); err != nil {
		t.Error(err)
	}
}
