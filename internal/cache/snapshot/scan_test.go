package snapshot

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func scanned(t *testing.T, tree string, extra []Entry) (*Manifest, []byte) {
	t.Helper()
	m, d, n, err := Scan(context.Background(), tree, ScanOptions{Epoch: epoch, Extra: extra})
	must(t, err)
	var out bytes.Buffer
	must(t, m.WriteTar(context.Background(), &out, tree))
	if got := Sum(out.Bytes()); got != d || int64(out.Len()) != n {
		t.Fatalf("WriteTar wrote %d bytes with digest %s, Scan said %d and %s", out.Len(), got, n, d)
	}
	return m, out.Bytes()
}

// A tree goes through GNU tar, which makes the devices and all metadata real, and has the same digest.
func TestThroughGNUTar(t *testing.T) {
	tree := oddTree(t)
	m, text := scanned(t, tree, devices)
	again := filepath.Join(t.TempDir(), "again")
	must(t, os.Mkdir(again, 0o700))
	c := exec.Command("tar", "-xpf", "-", "-C", again, "--numeric-owner", "--same-owner", "--xattrs", "--xattrs-include=*")
	c.Stdin = bytes.NewReader(text)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	m2, text2 := scanned(t, again, nil)
	if diff := cmp.Diff(m.Entries, m2.Entries); diff != "" {
		t.Errorf("after tar -x:\n%s", diff)
	}
	if !bytes.Equal(text, text2) {
		t.Error("the second tar differs")
	}
	if diffs, err := m.Verify(context.Background(), again); err != nil || len(diffs) > 0 {
		t.Errorf("Verify: %v %q", err, diffs)
	}
}

func TestNamesAsGNUTarSorts(t *testing.T) {
	tree := oddTree(t)
	m, _ := scanned(t, tree, nil)
	out, err := exec.Command("tar", "-cf", "/dev/null", "-v", "--sort=name", "--quoting-style=literal", "--null",
		"--show-transformed-names", "--transform=s,x,x,", "-C", tree, ".").Output()
	must(t, err)
	var ours strings.Builder
	for _, e := range m.Entries {
		switch {
		case e.Path == ".":
			ours.WriteString("./\n")
		case e.Type == TypeDir:
			ours.WriteString("./" + e.Path + "/\n")
		default:
			ours.WriteString("./" + e.Path + "\n")
		}
	}
	if diff := cmp.Diff(string(out), ours.String()); diff != "" {
		t.Errorf("order:\n%s", diff)
	}
}

func TestArchiveTarReadsIt(t *testing.T) {
	tree := oddTree(t)
	m, text := scanned(t, tree, devices)
	r := tar.NewReader(bytes.NewReader(text))
	for _, e := range m.Entries {
		h, err := r.Next()
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, err)
		name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
		if e.Path == "." {
			name = "."
		}
		got := Entry{Path: name, Type: e.Type, Mode: uint32(h.Mode), UID: uint32(h.Uid), GID: uint32(h.Gid),
			MTime: h.ModTime.Unix(), Major: uint32(h.Devmajor), Minor: uint32(h.Devminor), Link: h.Linkname}
		if e.Type == TypeFile {
			got.Size, got.SHA256 = int64(len(content)), Sum(content)
		}
		if e.Type == TypeHardlink {
			got.Link = strings.TrimPrefix(got.Link, "./")
		}
		for k, v := range h.PAXRecords {
			if key, ok := strings.CutPrefix(k, "SCHILY.xattr."); ok {
				if got.Xattrs == nil {
					got.Xattrs = map[string]string{}
				}
				got.Xattrs[strings.NewReplacer("%3D", "=", "%25", "%").Replace(key)] = v
			}
		}
		if diff := cmp.Diff(e, got); diff != "" {
			t.Errorf("%s:\n%s", e.Path, diff)
		}
		if h.Uname+h.Gname != "" {
			t.Errorf("%s: names %q %q", e.Path, h.Uname, h.Gname)
		}
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
}
