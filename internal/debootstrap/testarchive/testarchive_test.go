package testarchive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, data []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(p, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func needs(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs %s: %v", program, err)
	}
}

func TestDebIsReadByDpkgDeb(t *testing.T) {
	needs(t, "dpkg-deb")
	for _, c := range []string{"none", "gz", "xz", "zst", "bz2", "lzma"} {
		for _, slash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s slash %v", c, slash), func(t *testing.T) {
				if c == "bz2" {
					needs(t, "bzip2")
				}
				p := Package{
					Name: "hello", Compression: c, SlashNames: slash, Fields: map[string]string{"Depends": "libc6"},
					Files: []File{
						{Name: "usr/bin/hello", Body: "hi\n"}, {Name: "usr/bin/hallo", Link: "hello"},
						{Name: "usr/bin/again", Hard: "usr/bin/hello"}, {Name: "etc/odd", Body: "x"},
					},
					Scripts: map[string]string{"postinst": "#!/bin/sh\n"},
				}
				if c != "none" && c != "bz2" && c != "lzma" { // dpkg reads no others for control.tar
					p.ControlCompression = c
				}
				deb := write(t, p.Deb())
				if out, _ := exec.Command("dpkg-deb", "-c", deb).CombinedOutput(); c == "zst" && strings.Contains(string(out), "unknown compression") {
					t.Skip("needs a dpkg-deb that reads zst")
				}
				list := run(t, "dpkg-deb", "-c", deb)
				for _, want := range []string{"./usr/bin/hello\n", "./usr/bin/hallo -> hello\n", "./usr/bin/again link to ./usr/bin/hello\n", "./etc/odd\n"} {
					if !strings.Contains(list, want) {
						t.Errorf("no %q in\n%s", want, list)
					}
				}
				if got := run(t, "dpkg-deb", "-f", deb, "Package", "Depends"); got != "Package: hello\nDepends: libc6\n" {
					t.Errorf("fields %q", got)
				}
			})
		}
	}
}

func TestHostileEntriesStandAsGiven(t *testing.T) {
	p := Package{Name: "evil", NoParents: true, Compression: "none", Files: []File{
		{Header: &tar.Header{Name: "../../etc/passwd", Typeflag: tar.TypeReg, Size: 1, Mode: 0o4755}, Body: "x"},
		{Header: &tar.Header{Name: "/abs", Typeflag: tar.TypeSymlink, Linkname: "/etc"}},
	}}
	r := tar.NewReader(bytes.NewReader(p.dataTar()))
	for _, want := range []string{"../../etc/passwd", "/abs"} {
		h, err := r.Next()
		if err != nil || h.Name != want {
			t.Fatalf("entry %+v, %v; want %s", h, err, want)
		}
	}
}

func TestSignaturesAreReadByGpgv(t *testing.T) {
	needs(t, "gpgv")
	a := New("bionic").Add(Package{Name: "hello"})
	rsa := NewKeyWith(KeyOptions{Name: "rsa", RSA: 2048, Subkey: true})
	other := NewKey("other")
	a.Signers = []*Key{other, rsa}
	files := a.Files()
	dir := t.TempDir()
	for _, n := range []string{"InRelease", "Release", "Release.gpg"} {
		if err := os.WriteFile(filepath.Join(dir, n), files["dists/bionic/"+n], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range []*Key{rsa, other} {
		ring := write(t, k.Public())
		// gpgv fails when any signature is by an unknown key, but says which are good.
		for _, args := range [][]string{{"InRelease"}, {"Release.gpg", "Release"}} {
			cmd := exec.Command("gpgv", append([]string{"--status-fd", "1", "--keyring", ring}, args...)...)
			cmd.Dir = dir
			out, _ := cmd.Output() // the status lines are judged
			if !strings.Contains(string(out), "VALIDSIG") || !strings.Contains(string(out), k.Fingerprint()) {
				t.Errorf("%v by %s: %s", args, k.Fingerprint(), out)
			}
		}
	}
	ring := write(t, NewKey("stranger").Public())
	cmd := exec.Command("gpgv", "--status-fd", "1", "--keyring", ring, "InRelease")
	cmd.Dir = dir
	if out, err := cmd.Output(); err == nil || strings.Contains(string(out), "VALIDSIG") {
		t.Errorf("a stranger's key verifies: %s", out)
	}
}

func TestExpiredKeySignsAtItsTime(t *testing.T) {
	needs(t, "gpgv")
	a := New("stretch")
	a.Key = NewKeyWith(KeyOptions{Name: "old", Expires: Epoch.AddDate(0, 1, 0)})
	msg := write(t, a.Files()["dists/stretch/InRelease"])
	cmd := exec.Command("gpgv", "--status-fd", "1", "--keyring", write(t, a.Keyring()), msg)
	out, _ := cmd.Output() // the status lines are judged
	if !strings.Contains(string(out), "EXPKEYSIG") {
		t.Errorf("no EXPKEYSIG in %s", out)
	}
}

func TestIndexAndByHash(t *testing.T) {
	a := New("trixie").Add(
		Package{Name: "hello", Index: map[string]string{"Priority": "required"}},
		Package{Name: "doc", Arch: "all", Fields: map[string]string{"Depends": "hello (>= 1)"}})
	a.NoPlain = true
	a.Release = map[string]string{"No-Support-for-Architecture-all": "Packages", "Label": ""}
	files := a.Files()
	rel := string(files["dists/trixie/Release"])
	gz := files["dists/trixie/main/binary-amd64/Packages.gz"]
	line := fmt.Sprintf(" %x %16d main/binary-amd64/Packages.gz\n", sha256.Sum256(gz), len(gz))
	for _, want := range []string{line, "No-Support-for-Architecture-all: Packages\n", "Acquire-By-Hash: yes\n", " main/binary-amd64/Packages\n"} {
		if !strings.Contains(rel, want) {
			t.Errorf("no %q in\n%s", want, rel)
		}
	}
	if strings.Contains(rel, "Label") {
		t.Error("an emptied field is there")
	}
	if _, ok := files["dists/trixie/main/binary-amd64/Packages"]; ok {
		t.Error("plain Packages is there")
	}
	if _, ok := files[fmt.Sprintf("dists/trixie/main/binary-amd64/by-hash/SHA256/%x", sha256.Sum256(gz))]; !ok {
		t.Error("no by-hash file")
	}
	if files["pool/main/d/doc/doc_1.0_all.deb"] == nil {
		t.Error("no pool file")
	}
	a.Add(Package{Name: "new"})
	if _, ok := a.Files()[fmt.Sprintf("dists/trixie/main/binary-amd64/by-hash/SHA256/%x", sha256.Sum256(gz))]; !ok {
		t.Error("the earlier by-hash file is gone")
	}
}

func get(t *testing.T, url string, header ...string) (int, []byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, body, err
}

func TestFaults(t *testing.T) {
	a := New("bionic")
	a.Overlay = map[string][]byte{"file": []byte("0123456789")}
	s := a.Serve(t)
	url := s.URL + "/file"
	check := func(summary string, wantStatus int, wantBody string, wantErr bool, header ...string) {
		t.Helper()
		status, body, err := get(t, url, header...)
		if (err != nil) != wantErr || !wantErr && (status != wantStatus || string(body) != wantBody) {
			t.Errorf("%s: %d %q %v", summary, status, body, err)
		}
		if wantErr && string(body) != wantBody {
			t.Errorf("%s: %q before the error %v", summary, body, err)
		}
	}
	check("good", 200, "0123456789", false)
	check("range", 206, "6789", false, "Range", "bytes=6-")
	s.Fault(Fault{Path: "file", Times: 1, Status: 404})
	check("404 once", 404, "Not Found\n", false)
	check("404 no more", 200, "0123456789", false)
	s.Reset()
	a.Overlay["file"] = []byte("new")
	s.Fault(Fault{Path: "file", Times: 1, After: func() { s.Set(a) }})
	check("before the flip", 200, "0123456789", false)
	check("after the flip", 200, "new", false)
	if n := s.Count("file"); n != 2 {
		t.Errorf("%d requests", n)
	}
	a.Overlay["file"] = []byte("0123456789")
	s.Set(a)
	for _, c := range []struct {
		summary string
		fault   Fault
		status  int
		body    string
		err     bool
	}{
		{"truncated", Fault{Truncate: 4}, 0, "0123", true},
		{"stalled", Fault{StallAfter: 3, Stall: -1}, 0, "012", true},
		{"corrupt", Fault{Corrupt: true}, 200, "01234\x346789", false},
		{"no range", Fault{NoRange: true}, 200, "0123456789", false},
		{"wrong range", Fault{WrongRange: true}, 206, "0123", false},
		{"replaced", Fault{Body: []byte("other body")}, 206, "body", false},
		{"status", Fault{Status: 503}, 503, "Service Unavailable\n", false},
	} {
		s.Reset()
		c.fault.Path = "fil*"
		s.Fault(c.fault)
		var header []string
		if c.fault.NoRange || c.fault.WrongRange || c.fault.Body != nil {
			header = []string{"Range", "bytes=6-"}
		}
		check(c.summary, c.status, c.body, c.err, header...)
	}
	s.Reset()
	s.Fault(Fault{Path: "file", Endless: true})
	if _, body, _ := get(t, url); len(body) != 1<<20 {
		t.Errorf("endless: %d bytes", len(body))
	}
	s.User, s.Password = "me", "secret"
	check("401", 401, "who are you?\n", false)
}

func TestUnchangedFilesKeepLastModified(t *testing.T) {
	a := New("bionic")
	s := a.Serve(t)
	url := s.URL + "/dists/bionic/InRelease"
	status, _, err := get(t, url, "If-Modified-Since", a.Date.Format(http.TimeFormat))
	if status != 304 || err != nil {
		t.Errorf("unchanged: %d %v", status, err)
	}
	old := a.Date
	a.Date = a.Date.Add(time.Hour)
	s.Set(a)
	status, _, err = get(t, url, "If-Modified-Since", old.Format(http.TimeFormat))
	if status != 200 || err != nil {
		t.Errorf("changed: %d %v", status, err)
	}
}
