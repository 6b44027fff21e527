package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/rootctl/rootctl/internal/debootstrap/testarchive"
)

// Two archives may publish one name and version with different bytes, as Debian and Ubuntu do with
// libxxhash0 0.8.1-1: in one cache each root gets its own archive's. Beside: an index for "all" is not read.
func TestSameNameOtherBytes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	packages := testarchive.Host(t)
	f := &fixture{self: ownCopy(t)}
	r := &real{fixture: f, dir: t.TempDir()}
	digests := map[string]string{}
	for _, from := range []string{"debian", "ubuntu", "debian"} {
		a := testarchive.New("bionic").Add(packages...)
		a.Arches = []string{testarchive.HostArch(t), "all"}
		a.Add(testarchive.Package{Name: "libxxhash0", Version: "0.8.1-1", Path: "pool/main/x/xxhash/libxxhash0_0.8.1-1_amd64.deb",
			Files: []testarchive.File{{Name: "usr/lib/libxxhash.so.0", Body: from + "'s\n"}}})
		server := a.Serve(t)
		b := r.buildSuite(t, "--mirror", server.URL, "--only-mirror", "--keyring", keyFile(t, a.Key), "--include", "libxxhash0", "--tag", from, "bionic")
		if old, ok := digests[from]; ok && (b.Digest != old || !b.Cached) {
			t.Errorf("%s again: %+v, want a hit on %s", from, b, old)
		}
		digests[from] = b.Digest
		if got := r.must(t, "run", from, "cat", "/usr/lib/libxxhash.so.0"); got != from+"'s\n" {
			t.Errorf("%s's root has %q", from, got)
		}
		for _, q := range server.Requests() {
			if strings.Contains(q.Path, "binary-all") {
				t.Errorf("asked for %s", q.Path)
			}
		}
	}
	if digests["debian"] == digests["ubuntu"] {
		t.Error("both roots have one digest")
	}
}

// What a package that nobody vouches for ships to gain rights stays without use: device nodes are never
// made, and setuid programs lie where no other user can reach them.
func TestRightsFromUnsignedMirror(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	a := testarchive.HostArchive(t, "bionic")
	a.Signers = []*testarchive.Key{}
	a.Add(testarchive.Package{Name: "evil", Files: []testarchive.File{
		{Name: "opt/disk", Block: true, Major: 8, Mode: 0o666}, {Name: "opt/mem", Char: true, Major: 1, Minor: 1, Mode: 0o666},
		{Name: "opt/sh", Body: "#!/bin/sh\n", Mode: 0o6777},
	}, Scripts: map[string]string{"postinst": "#!/bin/sh\nmknod /opt/made b 8 0 && exit 1\ncp /bin/dash /opt/root; chmod 6777 /opt/root\n"}})
	server := a.Serve(t)
	top := t.TempDir()
	for d := top; d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r := &real{fixture: &fixture{self: ownCopy(t)}, dir: filepath.Join(top, "cache")}
	b := r.buildSuite(t, "--mirror", server.URL, "--only-mirror", "--no-verify", "--include", "evil", "--tag", "evil", "bionic")
	tree := filepath.Join(r.dir, "roots", strings.TrimPrefix(b.Digest, "sha256:"))
	if _, err := os.Stat(filepath.Join(tree, "opt/sh")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"disk", "mem", "made"} {
		if fi, err := os.Lstat(filepath.Join(tree, "opt", name)); err == nil && fi.Mode()&os.ModeDevice != 0 {
			t.Errorf("/opt/%s is a device: %v", name, fi.Mode())
		}
		if out, _, code := r.rootctl(t, "run", "evil", "--", "sh", "-c", "head -c 1 /opt/"+name+" >/dev/null 2>&1"); code == 0 {
			t.Errorf("a run reads /opt/%s: %s", name, out)
		}
	}
	for _, name := range []string{"sh", "root"} {
		c := r.command(r.dir)
		c.Path, c.Args = filepath.Join(tree, "opt", name), []string{name, "-c", "true"}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if err := c.Run(); !os.IsPermission(err) {
			t.Errorf("another user starts the cache's setuid /opt/%s: %v", name, err)
		}
	}
	r.checkLeft(t, r.dir, "after it")
}

// A package that unpacks to far more than it says is refused before it fills the disk.
func TestBombs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: builds and containers")
	}
	for _, p := range []testarchive.Package{
		{Name: "evil", Compression: "zst", Data: zeroBomb(t, "./usr/share/zeros", 300<<20)},
		{Name: "evil", Scripts: map[string]string{"templates": strings.Repeat("\x00", 70<<20)}, ControlCompression: "zst"},
	} {
		a := testarchive.HostArchive(t, "bionic").Add(p)
		server := a.Serve(t)
		r := &real{fixture: &fixture{self: ownCopy(t)}, dir: filepath.Join(t.TempDir(), "cache")}
		_, errs, code := r.rootctl(t, "build", "--mirror", server.URL, "--only-mirror", "--keyring", keyFile(t, a.Key), "--include", "evil", "--tag", "bad", "bionic")
		if code != codeFailed || !strings.Contains(errs, "evil") || !strings.Contains(errs, "bytes") {
			t.Errorf("exit code %d\n%s", code, errs)
		}
		t.Log(errs)
		r.checkLeft(t, r.dir, "after it")
	}
}

// zeroBomb is a compressed tar of one file of zeros, made without holding it in memory.
func zeroBomb(t *testing.T, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: testarchive.Epoch})
	chunk := make([]byte, 1<<20)
	for left := size; left > 0 && err == nil; left -= int64(len(chunk)) {
		_, err = w.Write(chunk)
	}
	if err := errors.Join(err, w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
