package debootstrap

import (
	"bytes"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rootctl/rootctl/internal/debootstrap/archive"
	"github.com/rootctl/rootctl/internal/debootstrap/pgp"
	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// sourceWorld is a suite's archive and somebody else's beside it.
type sourceWorld struct {
	*keyWorld
	tools *testarchive.Archive
	host  *testarchive.Server
}

func newSourceWorld(t *testing.T) *sourceWorld {
	t.Helper()
	w := &sourceWorld{keyWorld: newSmallWorld(t), tools: testarchive.New("stable")}
	w.tools.Arches, w.tools.Key, w.tools.Date = w.archive.Arches, testarchive.NewKey("tools"), w.archive.Date
	w.tools.Add(testarchive.Package{Name: "tool", Version: "1.2"})
	w.host = w.tools.Serve(t)
	w.req.Include = []string{"tool"}
	w.req.Added.Sources = []Source{{Name: "tools", URL: w.host.URL, Suite: "stable", Components: []string{"main"}, Key: w.tools.Key.Armored()}}
	return w
}

// secret is a key pair as gpg --export-secret-keys writes it.
func secret(t *testing.T, k *testarchive.Key) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := k.Entity.SerializePrivate(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func privateArmor(b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PGP PRIVATE KEY BLOCK", Bytes: b})
}

// TestSourceRefused: what somebody else's archive may get wrong is refused with its cause and a next step that makes
// sense for a source, nothing of it is recorded, and once it is right it is taken.
func TestSourceRefused(t *testing.T) {
	for _, tt := range []struct {
		summary   string
		change    func(*testing.T, *sourceWorld)
		is        error
		why, hint string
	}{
		{"another suite", func(_ *testing.T, w *sourceWorld) {
			files := map[string][]byte{}
			other := *w.tools
			other.Suite, other.Codename = "testing", "testing"
			for path, b := range other.Files() {
				files[strings.Replace(path, "dists/testing/", "dists/stable/", 1)] = b
			}
			w.host.SetFiles(files, w.tools.Date)
		}, archive.ErrNotTrusted, `Release is of suite "testing"`, "suite in the recipe"},
		{"past its Valid-Until", func(_ *testing.T, w *sourceWorld) {
			w.tools.ValidUntil = w.tools.Date.Add(time.Hour)
			w.host.Set(w.tools)
		}, archive.ErrNotTrusted, "was valid until", "no flag excuses"},
		{"another's key", func(_ *testing.T, w *sourceWorld) {
			w.tools.Signers = []*testarchive.Key{testarchive.NewKey("somebody")}
			w.host.Set(w.tools)
		}, nil, "key is not in the keyring", "key in the recipe"},
		{"the suite's own key", func(_ *testing.T, w *sourceWorld) {
			w.tools.Signers = []*testarchive.Key{w.archive.Key}
			w.host.Set(w.tools)
		}, nil, "key is not in the keyring", "key in the recipe"},
		{"unsigned", func(_ *testing.T, w *sourceWorld) {
			w.tools.Signers = []*testarchive.Key{}
			w.host.Set(w.tools)
		}, nil, "not signed", "key in the recipe"},
		{"an InRelease without a signature", func(_ *testing.T, w *sourceWorld) {
			files := w.tools.Files()
			files["dists/stable/InRelease"] = files["dists/stable/Release"]
			w.host.SetFiles(files, w.tools.Date)
		}, nil, "no valid signature", "key in the recipe"},
		{"an index of other bytes", func(_ *testing.T, w *sourceWorld) {
			files := w.tools.Files()
			for path, b := range files {
				if strings.Contains(path, "binary-") && len(b) > 0 {
					files[path] = append(bytes.Clone(b[:len(b)-1]), b[len(b)-1]^1)
				}
			}
			w.host.SetFiles(files, w.tools.Date)
		}, nil, "does not match its Release", ""},
		{"no dists", func(_ *testing.T, w *sourceWorld) {
			w.host.SetFiles(map[string][]byte{"Packages": nil, "Release": nil}, w.tools.Date)
		}, archive.ErrNotFound, "source tools", "archives without dists/ are not read"},
		{"garbage for keys", func(_ *testing.T, w *sourceWorld) {
			w.req.Added.Sources[0].Key = bytes.Repeat([]byte("garbage\x00\xff"), 10<<20/9)
		}, nil, "key of source tools", "gpg --export"},
		{"too many keys", func(_ *testing.T, w *sourceWorld) {
			w.req.Added.Sources[0].Key = bytes.Repeat(w.tools.Key.Public(), 17<<20/len(w.tools.Key.Public()))
		}, nil, "more than", "gpg --export"},
		{"no key", func(_ *testing.T, w *sourceWorld) { w.req.Added.Sources[0].Key = nil }, nil, "no usable key", "gpg --export"},
		{"a secret key", func(t *testing.T, w *sourceWorld) { w.req.Added.Sources[0].Key = secret(t, w.tools.Key) }, nil, "secret key", "public one"},
		{"a secret key behind the public one", func(t *testing.T, w *sourceWorld) {
			w.req.Added.Sources[0].Key = slices.Concat(w.tools.Key.Public(), secret(t, testarchive.NewKey("mine")))
		}, nil, "secret key", "public one"},
		{"a private block", func(t *testing.T, w *sourceWorld) {
			w.req.Added.Sources[0].Key = privateArmor(secret(t, w.tools.Key))
		}, nil, "secret key", "public one"},
		{"a private block behind the public one", func(t *testing.T, w *sourceWorld) {
			w.req.Added.Sources[0].Key = slices.Concat(w.tools.Key.Armored(), privateArmor(secret(t, testarchive.NewKey("mine"))))
		}, nil, "secret key", "public one"},
		{"a megabyte of packets", func(_ *testing.T, w *sourceWorld) {
			w.req.Added.Sources[0].Key = bytes.Repeat([]byte{0xcd, 0}, 1<<19) // empty user ids
		}, nil, "no usable key", "gpg --export"},
		{"a megabyte of user ids of one key", func(_ *testing.T, w *sourceWorld) {
			w.req.Added.Sources[0].Key = slices.Concat(testarchive.NewKey("alone").Public(), bytes.Repeat([]byte{0xcd, 1, 'x'}, 1<<20/3))
		}, nil, "not in the keyring", "key in the recipe"},
		{"a key that expired", func(_ *testing.T, w *sourceWorld) {
			old := testarchive.NewKeyWith(testarchive.KeyOptions{Name: "old", Expires: testarchive.Epoch.Add(time.Minute)})
			w.tools.Signers, w.req.Added.Sources[0].Key = []*testarchive.Key{old}, old.Public()
			w.host.Set(w.tools)
		}, nil, "key expired", "key in the recipe"},
	} {
		t.Run(tt.summary, func(t *testing.T) {
			t.Parallel()
			w := newSourceWorld(t)
			good := w.req.Added.Sources[0]
			tt.change(t, w)
			for _, excused := range []bool{false, true} { // nothing that is excused of the suite's archive is of a source
				w.req.NoVerify, w.req.AllowExpired = excused, excused
				start := time.Now()
				_, err := w.Lock(t.Context(), w.req)
				if took := time.Since(start); took > 20*time.Second {
					t.Errorf("took %v", took)
				}
				var untrusted *pgp.Untrusted
				if err == nil || !strings.Contains(err.Error(), tt.why) || !strings.Contains(err.Error(), "tools") && tt.hint != "" {
					t.Fatalf("%v, want %s", err, tt.why)
				}
				if tt.is != nil && !errors.Is(err, tt.is) || tt.hint == "key in the recipe" && !errors.As(err, &untrusted) {
					t.Errorf("of another kind: %v", err)
				}
				if hint := outerHint(err); !strings.Contains(hint, tt.hint) || strings.Contains(hint, "--allow-expired") || strings.Contains(hint, "--keyring") {
					t.Errorf("hint %q, want %q", hint, tt.hint)
				}
			}
			w.req.NoVerify, w.req.AllowExpired = false, false
			if _, err := w.Store.LoadRelease("stable"); err == nil && tt.summary != "an index of other bytes" {
				t.Error("its Release is recorded")
			}
			w.req.Added.Sources[0] = good
			w.tools.Signers, w.tools.ValidUntil, w.tools.Date = nil, time.Time{}, w.tools.Date.Add(time.Hour)
			w.host.Handler.Reset()
			w.host.Set(w.tools)
			l, err := w.Lock(t.Context(), w.req)
			if err != nil {
				t.Fatalf("once it is right: %v", err)
			}
			if !slices.ContainsFunc(l.Lock.Packages, func(p LockPackage) bool { return p.Name == "tool" && p.Pocket == "source-tools" }) {
				t.Error("the tool is not among the packages")
			}
		})
	}
}

// outerHint is the next step that is shown: the outermost.
func outerHint(err error) string {
	var h interface{ Hint() string }
	if errors.As(err, &h) {
		return h.Hint()
	}
	return ""
}
