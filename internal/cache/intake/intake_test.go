package intake

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, file capabilities and device nodes")
	}
}

// ent is one header of a tar to be made, with its content.
type ent struct {
	tar.Header
	body string
}

func file(name, body string) *ent {
	return &ent{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, ModTime: time.Unix(1e9, 0)}, body}
}
func folder(name string) *ent {
	return &ent{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755, ModTime: time.Unix(1e9, 0)}}
}
func sym(name, to string) *ent {
	return &ent{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777, ModTime: time.Unix(1e9, 0)}}
}
func hard(name, to string) *ent {
	return &ent{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to, Mode: 0o644, ModTime: time.Unix(1e9, 0)}}
}
func with(e *ent, f func(*ent)) *ent { f(e); return e }

// open is archive without an end.
func open(t testing.TB, ents ...*ent) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range ents {
		e.Size = int64(len(e.body))
		must(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.body)
		must(t, err)
	}
	must(t, w.Flush())
	return b.Bytes()
}

func archive(t testing.TB, ents ...*ent) []byte {
	return append(open(t, ents...), make([]byte, 1024)...)
}

// taken imports layers into a new folder.
func taken(t testing.TB, o Options, layers ...[]byte) (tree string, m *snapshot.Manifest, err error) {
	t.Helper()
	tree = filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(tree, 0o700))
	ctx := context.Background()
	u, err := New(ctx, tree, o)
	must(t, err)
	defer u.Close()
	for i, l := range layers {
		if err := u.Layer(ctx, bytes.NewReader(l), i > 0, i > 0); err != nil {
			return tree, nil, err
		}
	}
	m, err = u.Finish(ctx, tree)
	return tree, m, err
}

// scanned is what the disk says of a tree, with the devices of m, which are on no disk.
func scanned(t testing.TB, tree string, m *snapshot.Manifest) *snapshot.Manifest {
	t.Helper()
	var extra []snapshot.Entry
	if m != nil {
		for _, e := range m.Entries {
			if e.Type == snapshot.TypeChar || e.Type == snapshot.TypeBlock {
				extra = append(extra, e)
			}
		}
	}
	s, _, _, err := snapshot.Scan(context.Background(), tree, snapshot.ScanOptions{Epoch: math.MaxInt64, Extra: extra})
	must(t, err)
	return s
}

// oddTree makes a tree with what a root may hold.
func oddTree(t *testing.T) string {
	t.Helper()
	needsRoot(t)
	tree := filepath.Join(t.TempDir(), "odd")
	script := `set -e; mkdir "$0"; cd "$0"; umask 022
mkdir -p etc a tmp closed ` + strings.Repeat("long-name/", 30) + `; chmod 2775 a; chmod 1777 tmp
printf 'x%.0s' $(seq 1 300) > $(printf 'n%.0s' $(seq 1 255)); head -c 700001 /dev/urandom > a/big; : > a/empty
printf latin > "$(printf 'latin1-\351t\351 with space\nand newline\\')"; echo u > üñí; echo sorts > a.b; echo 1 > a-b
printf long > ` + strings.Repeat("long-name/", 30) + `$(printf '\377%.0s' $(seq 1 120))
echo '#!/bin/sh' > su; chmod 4755 su; ln su a/su-too; ln su zz; ln -s /nowhere/at-all dangling; ln -s ` + strings.Repeat("../", 60) + `x longlink
echo cap > ping; chmod 755 ping; chown 3000000:4000000000 ping; chown -h 7:8 dangling; mkfifo -m 622 fifo; truncate -s 1000000 sparse
mknod etc/null c 1 3; mknod -m 660 a/loop b 7 300; chown 0:6 a/loop
touch -d @1500000000.123456789 a/big; touch -d @0 a-b; touch -h -d @1 dangling; touch -d @20000000000 zz; chmod 0 closed; touch -d @1400000000.5 a closed .
`
	if out, err := exec.Command("bash", "-c", script, tree).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at := func(name string) string { return filepath.Join(tree, name) }
	caps := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	must(t, unix.Setxattr(at("ping"), "security.capability", caps, 0))
	must(t, unix.Setxattr(at("ping"), "user.a=b%c", []byte("x\x00y\n"), 0))
	must(t, unix.Setxattr(at("etc"), "user.dir", nil, 0))
	must(t, unix.Setxattr(at("a.b"), "system.posix_acl_access", []byte(acl(6, 4, 4)), 0))
	must(t, unix.Setxattr(at("tmp"), "system.posix_acl_default", []byte(acl(7, 5, 5)), 0))
	return tree
}

// acl lets user 5 read: user::, user:5:r--, group::, mask::, other::r--.
func acl(user, group, mask byte) string {
	out := "\x02\x00\x00\x00"
	for _, e := range [][2]string{{"\x01\x00" + string(user), "\xff\xff\xff\xff"}, {"\x02\x00\x04", "\x05\x00\x00\x00"},
		{"\x04\x00" + string(group), "\xff\xff\xff\xff"}, {"\x10\x00" + string(mask), "\xff\xff\xff\xff"}, {"\x20\x00\x04", "\xff\xff\xff\xff"}} {
		out += e[0] + "\x00" + e[1]
	}
	return out
}

// The canonical tar of a tree, imported, gives the same digest and the same tar again, in any order of entries.
func TestRoundTrip(t *testing.T) {
	tree := oddTree(t)
	want := scanned(t, tree, nil)
	var first bytes.Buffer
	must(t, want.WriteTar(context.Background(), &first, tree))
	gnu := func(args ...string) []byte {
		args = append([]string{"-C", tree, "--numeric-owner", "--xattrs", "--xattrs-include=*", "--format=pax", "-c", "."}, args...)
		out, err := exec.Command("tar", args...).Output()
		must(t, err)
		return out
	}
	for _, tc := range []struct {
		summary string
		tar     []byte
	}{
		{"canonical", first.Bytes()},
		{"GNU tar's pax", gnu("--sort=name")},
		{"GNU tar's pax, in the disk's order", gnu()},
		{"GNU tar's pax, sparse", gnu("--sparse")},
		{"GNU tar's pax, sparse 0.0", gnu("--sparse", "--sparse-version=0.0")},
		{"GNU tar's pax, sparse 0.1", gnu("--sparse", "--sparse-version=0.1")},
	} {
		t.Run(tc.summary, func(t *testing.T) {
			again, m, err := taken(t, Options{}, tc.tar)
			must(t, err)
			if diff := cmp.Diff(want, m); diff != "" {
				t.Error(diff)
			}
			var second bytes.Buffer
			must(t, m.WriteTar(context.Background(), &second, again))
			if !bytes.Equal(first.Bytes(), second.Bytes()) {
				t.Error("the tar differs")
			}
			if diff := cmp.Diff(want, scanned(t, again, m)); diff != "" {
				t.Errorf("disk: %s", diff)
			}
			if n, err := exec.Command("find", again, "-type", "b", "-o", "-type", "c").Output(); err != nil || len(n) > 0 {
				t.Errorf("device nodes on disk: %v %s", err, n)
			}
		})
	}
}

// Where the disk takes no owners and attributes, the digest is the same.
func TestDiskCannot(t *testing.T) {
	tree := oddTree(t)
	want := scanned(t, tree, nil)
	var out bytes.Buffer
	must(t, want.WriteTar(context.Background(), &out, tree))
	again, m, err := taken(t, Options{DiskCannot: true}, out.Bytes())
	must(t, err)
	if m.Digest != want.Digest {
		t.Errorf("digest %s, want %s", m.Digest, want.Digest)
	}
	var st unix.Stat_t
	must(t, unix.Lstat(again+"/ping", &st))
	if st.Uid != 0 {
		t.Errorf("owner %d on a disk that takes none", st.Uid)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	tree := t.TempDir()
	u, err := New(ctx, tree, Options{})
	must(t, err)
	defer u.Close()
	r, w := io.Pipe()
	go func() {
		b := open(t, file("a", "x"))
		w.Write(b)
		cancel()
		for range 100 {
			w.Write(b)
		}
		w.Close()
	}()
	if err := u.Layer(ctx, r, false, false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestOwnerOutside(t *testing.T) {
	err := &MemberError{"x", fmt.Errorf("make: %w", &ownerError{7, 8})}
	if !strings.Contains(err.Hint(), "sudo") {
		t.Errorf("hint %q", err.Hint())
	}
}
