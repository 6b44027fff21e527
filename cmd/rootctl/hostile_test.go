package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// hostile is one thing a mirror may try.
type hostile struct {
	summary string
	archive func(a *testarchive.Archive)                        // changes the archive before it is served
	serve   func(a *testarchive.Archive, h *testarchive.Server) // changes how it is served
	code    int
	says    string // part of what stderr says
}

// evil adds a package with hostile files, which the build is asked to include.
func evil(files ...testarchive.File) func(*testarchive.Archive) {
	return func(a *testarchive.Archive) {
		a.Add(testarchive.Package{Name: "evil", Arch: "all", NoParents: true, Files: files})
	}
}

func raw(name string, kind byte, link string) testarchive.File {
	return testarchive.File{Body: bodyOf(kind), Header: &tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o644, Size: int64(len(bodyOf(kind)))}}
}

func bodyOf(kind byte) string {
	if kind == tar.TypeReg {
		return "owned"
	}
	return ""
}

func hostiles(outside string) []hostile {
	return []hostile{
		{summary: "InRelease tampered with", code: 3, says: "signature", archive: func(a *testarchive.Archive) {
			text := strings.Replace(string(a.Files()["dists/bionic/InRelease"]), "Label: Test", "Label: Best", 1)
			a.Overlay = map[string][]byte{"dists/bionic/InRelease": []byte(text)}
		}},
		{summary: "signature stripped", code: 3, archive: func(a *testarchive.Archive) {
			a.Overlay = map[string][]byte{"dists/bionic/InRelease": a.Files()["dists/bionic/Release"], "dists/bionic/Release.gpg": nil}
		}},
		{summary: "nobody signed", code: 3, archive: func(a *testarchive.Archive) { a.Signers = []*testarchive.Key{} }},
		{summary: "unknown signer", code: 3, archive: func(a *testarchive.Archive) { a.Signers = []*testarchive.Key{testarchive.NewKey("mallory")} }},
		{summary: "Valid-Until long past", code: 3, says: "allow-expired", archive: func(a *testarchive.Archive) { a.ValidUntil = a.Date.Add(24 * time.Hour) }},
		{summary: "another suite under this name", code: 3, archive: func(a *testarchive.Archive) { a.Release = map[string]string{"Suite": "xenial", "Codename": "xenial"} }},
		{summary: "Release from the future", code: 3, archive: func(a *testarchive.Archive) { a.Date = time.Now().AddDate(1, 0, 0) }},
		{summary: "Packages tampered with", code: 1, serve: func(_ *testarchive.Archive, s *testarchive.Server) {
			s.Fault(testarchive.Fault{Path: "Packages*", Corrupt: true}, testarchive.Fault{Path: "dists/bionic/main/*/by-hash/SHA256/*", Corrupt: true})
		}},
		{summary: "endless Packages", code: 1, serve: func(_ *testarchive.Archive, s *testarchive.Server) {
			s.Fault(testarchive.Fault{Path: "Packages*", Endless: true}, testarchive.Fault{Path: "dists/bionic/main/*/by-hash/SHA256/*", Endless: true})
		}},
		{summary: "deb tampered with", code: 1, serve: func(_ *testarchive.Archive, s *testarchive.Server) {
			s.Fault(testarchive.Fault{Path: "dpkg_*.deb", Corrupt: true})
		}},
		{summary: "endless deb", code: 1, serve: func(_ *testarchive.Archive, s *testarchive.Server) {
			s.Fault(testarchive.Fault{Path: "dpkg_*.deb", Endless: true})
		}},
		{summary: "pool path that leaves the mirror", code: 1, archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Index: map[string]string{"Filename": "../../etc/passwd"}})
		}},
		{summary: "deb of another package", code: 1, archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Raw: testarchive.Package{Name: "good", Version: "1.0", Arch: "all"}.Deb()})
		}},
		{summary: "not a deb", code: 1, archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Raw: []byte("!<arch>\nthis is none")})
		}},
		{summary: "member ../", code: 1, says: "evil", archive: evil(raw("./../../../../../.."+outside+"/x", tar.TypeReg, ""))},
		{summary: "absolute member", code: 1, says: "evil", archive: evil(raw("/.."+outside+"/x", tar.TypeReg, ""))},
		{summary: "link, then a write through it", code: 1, says: "evil", archive: evil(raw("./opt/out", tar.TypeSymlink, outside), raw("./opt/out/x", tar.TypeReg, ""))},
		{summary: "hard link to a file outside", code: 1, says: "evil", archive: evil(raw("./opt/hard", tar.TypeLink, outside+"/canary"))},
		{summary: "hard link out by ..", code: 1, says: "evil", archive: evil(raw("./opt/hard", tar.TypeLink, "../../../../../.."+outside+"/canary"))},
		{summary: "maintainer script that fails", code: 1, says: "evil: postinst ended with exit status 3 ... \n  | the last words\n ... \nlog: /", archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Scripts: map[string]string{"postinst": "#!/bin/sh\necho the last words\nexit 3\n"}})
		}},
		{summary: "terminal escapes in a script's output", code: 1, says: "evil", archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Scripts: map[string]string{"postinst": "#!/bin/sh\nprintf '\\033]0;owned\\007\\033[2J'\nexit 3\n"}})
		}},
		{summary: "terminal escapes and slashes in a version", code: 1, says: "evil", archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Index: map[string]string{"Version": "1/../../\x1b[31m"}})
		}},
		{summary: "preinst that fails", code: 1, says: "evil", archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Scripts: map[string]string{"preinst": "#!/bin/sh\necho the last words\nexit 3\n"}})
		}},
		{summary: "script that replaces the dpkg database by a link out", code: 1, archive: func(a *testarchive.Archive) {
			a.Add(testarchive.Package{Name: "evil", Arch: "all", Scripts: map[string]string{"postinst": "#!/bin/sh\nmv /var/lib/dpkg /var/lib/x\nln -s " + outside + " /var/lib/dpkg\n"}})
		}},
	}
}

// Every hostile input fails closed: exit code 3 or 1, the cache and all outside as they were, no panic.
func TestHostile(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.MkdirAll(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	packages := testarchive.Host(t)
	self := newFixture(t).self
	for _, tt := range hostiles(outside) {
		t.Run(tt.summary, func(t *testing.T) {
			a := testarchive.New("bionic").Add(packages...)
			a.Arches = []string{testarchive.HostArch(t)}
			key := filepath.Join(t.TempDir(), "key.gpg")
			if err := os.WriteFile(key, a.Keyring(), 0o644); err != nil {
				t.Fatal(err)
			}
			server := a.Serve(t)
			f := &fixture{self: self, args: []string{"build", "--mirror", server.URL, "--only-mirror", "--keyring", key, "--tag", "fixture", "bionic"}}
			dir := filepath.Join(t.TempDir(), "cache")
			f.build(t, dir)
			before := stateOf(t, dir)
			a.Date = a.Date.Add(time.Hour)
			if tt.archive != nil {
				tt.archive(a)
			}
			server.Set(a)
			if tt.serve != nil {
				for _, e := range []string{"dl", "actions", "roots", "refs", "inputs", "releases"} { // so that all is fetched again
					if err := os.RemoveAll(filepath.Join(dir, e)); err != nil {
						t.Fatal(err)
					}
				}
				before = stateOf(t, dir)
				tt.serve(a, server)
			}
			args := append([]string{"build", "-q", "--tag", "bad"}, f.args[1:5]...)
			args = append(args, f.args[5])
			if tt.archive != nil && hasPackage(a, "evil") {
				args = append(args, "--include", "evil")
			}
			c := f.command(dir, append(args, "bionic")...)
			out, _ := c.CombinedOutput()
			checkRefused(t, tt, c, string(out))
			if d := cmp.Diff(before, stateOf(t, dir)); d != "" {
				t.Errorf("the cache changed (-before +after):\n%s", d)
			}
			f.checkLeft(t, dir, tt.summary)
			if got, err := os.ReadFile(filepath.Join(outside, "canary")); err != nil || string(got) != "alive" {
				t.Errorf("the canary outside is %q, %v", got, err)
			}
			if entries, _ := os.ReadDir(outside); len(entries) != 1 {
				t.Errorf("outside now holds %v", entries)
			}
		})
	}
}

func hasPackage(a *testarchive.Archive, name string) bool {
	for _, p := range a.Packages() {
		if p.Name == name {
			return true
		}
	}
	return false
}

func checkRefused(t *testing.T, tt hostile, c *exec.Cmd, out string) {
	t.Helper()
	if code := c.ProcessState.ExitCode(); code != tt.code {
		t.Errorf("exit code %d, want %d\n%s", code, tt.code, out)
	}
	for _, part := range strings.Split(tt.says, " ... ") {
		if !strings.Contains(out, part) {
			t.Errorf("does not say %q:\n%s", part, out)
		}
	}
	if strings.ContainsAny(out, "\x1b\x07\x00") {
		t.Errorf("prints control characters: %q", out)
	}
	if strings.Contains(out, "panic:") || strings.Contains(out, "goroutine ") {
		t.Errorf("panicked:\n%s", out)
	}
	t.Log(strings.TrimSpace(out))
}

// stateOf digests what a cache serves: names, roots, and the records that lead to roots. Verified
// Releases and selections may be added, and downloads prove themselves by their digests.
func stateOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, sub := range []string{"refs", "actions", "roots"} {
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			data, err := os.ReadFile(path)
			if sub == "actions" && !bytes.Contains(data, []byte(`"root":"`)) {
				return err
			}
			sum := sha256.Sum256(data)
			state[strings.TrimPrefix(path, dir)] = hex.EncodeToString(sum[:8])
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return state
}
