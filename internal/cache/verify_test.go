package cache

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// oneOfEach is a cache with one thing of each kind, and where their files are, by kind.
func oneOfEach(t *testing.T) (*Store, map[string]string) {
	t.Helper()
	s := open(t)
	root := made(t, s, "root", "download")
	must(t, s.SetRef(Ref{Name: "bionic", Root: root}, nil))
	must(t, s.StoreRelease("release", []byte("Suite: bionic\n"), nil))
	blob := Sum([]byte("blob"))
	must(t, os.WriteFile(s.path("oci/blobs/sha256", string(blob)), []byte("blob"), 0o444))
	l, err := s.Layer(map[string][]byte{"etc/hosts": []byte("127.0.0.1\n"), "etc/hosts.d/x": []byte("x"), "etc/hostname": nil})
	must(t, err)
	l.Close()
	input := []byte(`{"root":"root"}`)
	return s, map[string]string{
		KindDownload: s.path("dl/sha256", string(Sum([]byte("download")))), KindBlob: s.path("oci/blobs/sha256", string(blob)),
		"action": s.path("actions", string(Sum(input))), "input": s.path("inputs", string(Sum(input))+".json"),
		"ref": s.path("refs/bionic"), "release": s.path("releases/release"), KindLayer: l.Path + "/etc/hosts",
		"manifest": s.mtreePath(root), "tree": s.rootPath(root) + "/usr/bin/7",
	}
}

func verify(t *testing.T, s *Store, roots bool) *Verified {
	t.Helper()
	v, err := s.Verify(context.Background(), VerifyOptions{Roots: roots})
	must(t, err)
	return v
}

func TestVerifyWhole(t *testing.T) {
	s, _ := oneOfEach(t)
	v := verify(t, s, true)
	if len(v.Bad) != 0 {
		t.Errorf("%+v", v.Bad)
	}
	for _, k := range v.Checked {
		if k.Items == 0 || k.Bytes == 0 {
			t.Errorf("nothing was read: %+v", k)
		}
	}
}

// TestVerifyFinds damages each kind of file in several ways.
func TestVerifyFinds(t *testing.T) {
	ways := map[string]func(b []byte) []byte{
		"first bit flipped": func(b []byte) []byte { b[0] ^= 1; return b },
		"last bit flipped":  func(b []byte) []byte { b[len(b)-1] ^= 0x80; return b },
		"cut":               func(b []byte) []byte { return b[:len(b)/2] },
		"empty":             func([]byte) []byte { return nil },
		"longer":            func(b []byte) []byte { return append(b, 'x') },
	}
	_, files := oneOfEach(t)
	for kind := range files {
		for way, damage := range ways {
			t.Run(kind+" "+way, func(t *testing.T) {
				s, files := oneOfEach(t)
				b, err := os.ReadFile(files[kind])
				must(t, err)
				must(t, os.Chmod(files[kind], 0o644))
				must(t, os.WriteFile(files[kind], damage(b), 0o644))
				s.readOnly = true
				if v := verify(t, s, true); len(v.Bad) != 1 || v.Bad[0].Removed {
					t.Errorf("read-only: %+v", v.Bad)
				}
				s.readOnly = false
				v := verify(t, s, true)
				want := kind
				if kind == "tree" || kind == "manifest" {
					want = KindRoot
				}
				if len(v.Bad) != 1 || v.Bad[0].Kind != want || !v.Bad[0].Removed || v.Bad[0].Reason == "" {
					t.Fatalf("%+v", v.Bad)
				}
				if again := verify(t, s, true); len(again.Bad) != 0 {
					t.Errorf("again: %+v", again.Bad)
				}
				if left := litter(t, s); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
			})
		}
	}
}

// What has taken a file's place is bad too, and reading it must end.
func TestVerifyOddFiles(t *testing.T) {
	for _, kind := range []string{KindDownload, KindBlob, "action", "input", "ref", "release"} {
		s, files := oneOfEach(t)
		must(t, os.Remove(files[kind]))
		must(t, os.Symlink("/dev/zero", files[kind]))
		if v := verify(t, s, false); len(v.Bad) != 1 || !v.Bad[0].Removed {
			t.Errorf("%s: link: %+v", kind, v.Bad)
		}
		must(t, os.MkdirAll(files[kind]+"/x", 0o700))
		if v := verify(t, s, false); len(v.Bad) != 1 || !v.Bad[0].Removed {
			t.Errorf("%s: folder: %+v", kind, v.Bad)
		}
		must(t, os.WriteFile(filepath.Dir(files[kind])+"/.hidden", nil, 0o600))
		if v := verify(t, s, false); len(v.Bad) != 1 || !v.Bad[0].Removed {
			t.Errorf("%s: stranger: %+v", kind, v.Bad)
		}
	}
}

// A damaged root in use is told and stays; when it is no longer used it goes, and the next build makes it anew.
func TestVerifyInUse(t *testing.T) {
	s, files := oneOfEach(t)
	roots, err := s.Roots()
	must(t, err)
	l, err := s.Lease(context.Background(), roots[0].Digest)
	must(t, err)
	must(t, os.Chmod(files["tree"], 0o600))
	v := verify(t, s, true)
	if len(v.Bad) != 1 || v.Bad[0].Removed || !v.Bad[0].InUse || !strings.Contains(v.Bad[0].Reason, "mode 0600, not 0755") || !s.hasRoot(l.Root) {
		t.Errorf("%+v", v.Bad)
	}
	l.Close()
	if v = verify(t, s, true); len(v.Bad) != 1 || !v.Bad[0].Removed || s.hasRoot(l.Root) {
		t.Errorf("%+v", v.Bad)
	}
	if again := made(t, s, "root"); again != l.Root {
		t.Errorf("%s, want %s", again, l.Root)
	}
	if v = verify(t, s, true); len(v.Bad) != 0 {
		t.Errorf("healed: %+v", v.Bad)
	}
}
