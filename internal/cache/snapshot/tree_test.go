package snapshot

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const epoch = 1_600_000_000

// needsRoot skips what only root can set up: owners, capabilities, device nodes.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: owners, file capabilities and device nodes")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// oddTree makes a tree with all that a root may hold and a few things that it had better not.
func oddTree(t *testing.T) string {
	t.Helper()
	needsRoot(t)
	tree := filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(tree, 0o755))
	must(t, os.Chmod(tree, 0o755))
	at := func(name string) string { return filepath.Join(tree, name) }
	file := func(name, content string, mode os.FileMode) {
		must(t, os.WriteFile(at(name), []byte(content), 0o600))
		must(t, syscall.Chmod(at(name), uint32(mode)))
	}
	dir := func(name string, mode uint32) {
		must(t, os.MkdirAll(at(name), 0o700))
		must(t, syscall.Chmod(at(name), mode))
	}
	dir("etc", 0o755)
	dir("a", 0o2775)
	dir("tmp", 0o1777)
	dir("closed", 0)
	long := strings.Repeat("long-name/", 30)
	dir(long, 0o755)
	file("a.b", "sorts after all that is in a\n", 0o644)
	file("a/x", strings.Repeat("0123456789abcdef", 40000), 0o644) // more than one chunk
	file("a-b", "", 0o600)
	file(long+strings.Repeat("n", 255), "deep", 0o444)
	file("latin1-\xe9t\xe9 with space\nand newline\\", "not UTF-8", 0o640)
	file("üñí", "UTF-8", 0o640)
	file(strings.Repeat("\xff", 120), "long and not UTF-8", 0o640)
	file("su", "#!/bin/sh\n", 0o4755)
	file("ping", "cap", 0o755)
	must(t, os.Link(at("su"), at("a/su-too")))
	must(t, os.Link(at("su"), at("zz")))
	must(t, os.Symlink("/nowhere/at all", at("dangling")))
	must(t, os.Symlink(strings.Repeat("../", 60)+"x", at("longlink")))
	must(t, unix.Mkfifo(at("fifo"), 0o622))
	must(t, os.Chown(at("ping"), 3_000_000, 4_000_000_000))
	must(t, os.Lchown(at("dangling"), 7, 8))
	// cap_net_raw+ep, revision 2; chown clears it, so it comes last
	caps := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	must(t, unix.Setxattr(at("ping"), "security.capability", caps, 0))
	must(t, unix.Setxattr(at("ping"), "user.a=b%c", []byte("x\x00y\n"), 0))
	must(t, unix.Setxattr(at("etc"), "user.dir", nil, 0))
	must(t, unix.Setxattr(at("etc"), "trusted.overlay.opaque", []byte("y"), 0))
	// user::rw- user:5:r-- group::r-- mask::r-- other::r--
	acl := "\x02\x00\x00\x00"
	for _, e := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 4, 5}, {4, 4, 1<<32 - 1}, {16, 4, 1<<32 - 1}, {32, 4, 1<<32 - 1}} {
		acl += fmt.Sprintf("%c\x00%c\x00%c%c%c%c", e[0], e[1], byte(e[2]), byte(e[2]>>8), byte(e[2]>>16), byte(e[2]>>24))
	}
	raw := make([]byte, 0, len(acl))
	for _, r := range acl {
		raw = append(raw, byte(r))
	}
	must(t, unix.Setxattr(at("a.b"), "system.posix_acl_access", raw, 0))
	sparse, err := os.Create(at("sparse"))
	must(t, err)
	must(t, sparse.Truncate(1_000_000))
	must(t, sparse.Close())
	early := time.Unix(1_500_000_000, 123456789)
	must(t, os.Chtimes(at("a/x"), early, early))
	must(t, os.Chtimes(at("a-b"), time.Unix(-5, 0), time.Unix(-5, 0)))
	must(t, os.Chtimes(at("a"), early, early))
	return tree
}

var devices = []Entry{
	{Path: "etc/null", Type: TypeChar, Mode: 0o666, Major: 1, Minor: 3},
	{Path: "a/initctl", Type: TypeFifo, Mode: 0o600},
	{Path: "a/loop", Type: TypeBlock, Mode: 0o660, GID: 6, Major: 7, Minor: 300},
}
