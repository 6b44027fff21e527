package main

import (
	"encoding/pem"
	"errors"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// mirrorEnv serves an archive in other ways, for scripts: over TLS with a certificate of no public
// authority, and from a folder.
func mirrorEnv(t *testing.T, archive *testarchive.Archive) map[string]string {
	t.Helper()
	secure := httptest.NewUnstartedServer(archive.Handler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
	secure.StartTLS()
	t.Cleanup(secure.Close)
	locked := httptest.NewUnstartedServer(func() http.Handler {
		h := archive.Handler()
		h.User, h.Password = "builder", "s3cret-w0rd"
		return h
	}())
	locked.TLS = secure.TLS.Clone()
	locked.StartTLS()
	t.Cleanup(locked.Close)
	dir := t.TempDir()
	authority := filepath.Join(dir, "authority.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	folder := filepath.Join(dir, "a mirror")
	err := os.WriteFile(authority, block, 0o644)
	for p, b := range archive.Files() {
		name := filepath.Join(folder, p)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, b, 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	both := archive.Files()
	updates := testarchive.New(archive.Suite + "-updates")
	updates.Codename, updates.Key, updates.Arches, updates.Date = archive.Codename, archive.Key, archive.Arches, archive.Date.AddDate(0, 2, 0)
	updates.Add(testarchive.Package{Name: "other"})
	maps.Copy(both, updates.Files())
	maps.Copy(both, securityOf(archive).Files())
	two := httptest.NewServer(func() http.Handler {
		h := &testarchive.Handler{}
		h.SetFiles(both, archive.Date)
		return h
	}())
	t.Cleanup(two.Close)
	return map[string]string{
		"TWO": two.URL, "LOCKED": locked.URL,
		"TLS": secure.URL, "AUTHORITY": authority, "FOLDER": folder, "FILE": (&url.URL{Scheme: "file", Path: folder}).String(),
	}
}

// securityOf is a security pocket that has two packages of a fixture root newer, one older, one that the
// root has not, and one that only --include brings.
func securityOf(archive *testarchive.Archive) *testarchive.Archive {
	s := testarchive.New(archive.Suite + "-security")
	s.Codename, s.Key, s.Arches = archive.Codename, archive.Key, archive.Arches
	s.Date = archive.Date.AddDate(0, 1, 0)
	for name, version := range map[string]string{"sed": "9.1", "grep": "1:0", "bash": "0.1", "other": "9", "hello": "9"} {
		s.Add(testarchive.Package{Name: name, Version: version})
	}
	return s
}

func TestParseMirror(t *testing.T) {
	for _, c := range []struct{ in, want, hint string }{
		{"http://m.example/ubuntu/", "http://m.example/ubuntu", ""},
		{"HTTPS://u:p@m.example:8443/x", "https://u:p@m.example:8443/x", ""},
		{"file:///srv/mirror/", "file:///srv/mirror", ""},
		{"file:/srv/mirror", "file:///srv/mirror", ""},
		{"file://localhost/srv/a%20b", "file:///srv/a%20b", ""},
		{"/srv/a b", "", "file:///srv/a%20b"},
		{"file://other/srv", "", "file:///srv/mirror"},
		{"file:srv", "", "file:///srv/mirror"},
		{"ftp://u:s3cret@m/", "", "http://"},
		{"http:///x", "", "http://"},
		{"http://m/?s3cret", "", "http://"},
		{"mirror.example", "", "http://"},
		{"http://u:s3cret@h:x/", "", "http://"},
	} {
		got, err := parseMirror(c.in)
		if got != c.want || (err == nil) != (c.hint == "") || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%s: %q, %v, hint %q", c.in, got, err, hintOf(err))
		}
		if err != nil && (strings.Contains(err.Error(), "s3cret") || codeOf(err) != codeUsage) {
			t.Errorf("%s: %v", c.in, err)
		}
	}
	if got, err := parseMirror("./x"); err == nil || got != "" || !strings.HasSuffix(hintOf(err), "/x") {
		t.Errorf("a relative folder: %q %v, hint %q", got, err, hintOf(err))
	}
}

func TestReadLogins(t *testing.T) {
	dir := t.TempDir()
	apt := filepath.Join(dir, "apt")
	for name, text := range map[string]string{
		"netrc":                        "machine a login user password netrc\n",
		"apt/auth.conf":                "machine a login user password apt\nmachine b login user password main\n",
		"apt/auth.conf.d/x.conf":       "machine b/sub login user password part\n",
		"apt/auth.conf.d/backup.conf~": "machine c login user password no\n",
		"apt/auth.conf.d/x y.conf":     "machine c login user password no\n",
	} {
		full := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o700), os.WriteFile(full, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	l := readLogins(filepath.Join(dir, "netrc"), apt, t.Logf, slog.New(slog.DiscardHandler))
	for raw, want := range map[string]string{"https://a/": "netrc", "http://a/": "netrc", "https://b/x": "main", "https://b/sub/x": "part", "http://b/": "", "https://c/": ""} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, got, _ := l.For(u); got != want {
			t.Errorf("%s: %q, want %q", raw, got, want)
		}
	}
	if none := readLogins("", filepath.Join(dir, "absent"), t.Logf, slog.New(slog.DiscardHandler)); len(none) != 0 {
		t.Error("logins of nowhere")
	}
}
