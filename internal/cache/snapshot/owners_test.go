package snapshot

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Recorded owners follow a file through renames and links and never fall to a later file with its number.
func TestOwnersFollowFiles(t *testing.T) {
	for kind, keys := range map[string]func(int, string) (string, error){"handle": nil, "number": numberKey} {
		t.Run(kind, func(t *testing.T) {
			o := &Owners{keys: keys}
			dir := t.TempDir()
			fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			must(t, err)
			defer unix.Close(fd)
			at := func(n string) string { return filepath.Join(dir, n) }
			of := func(n string) string {
				uid, gid, ok := o.Of(fd, n)
				return fmt.Sprint(uid, ":", gid, " ", ok)
			}
			check := func(n, want string) {
				t.Helper()
				if got := of(n); got != want {
					t.Errorf("%s: %s, want %s", n, got, want)
				}
			}
			must(t, os.WriteFile(at("f"), nil, 0o644))
			check("f", "0:0 false")
			must(t, o.Set(fd, "f", 5, 42))
			must(t, os.Rename(at("f"), at("g")))
			must(t, os.Link(at("g"), at("h")))
			check("h", "5:42 true")
			check("f", "0:0 false")
			must(t, os.Symlink("h", at("l")))
			must(t, o.Set(fd, "l", 1, 2))
			check("l", "1:2 true")
			check("h", "5:42 true")
			p, err := unix.Open(at("h"), unix.O_PATH|unix.O_CLOEXEC, 0)
			must(t, err)
			defer unix.Close(p)
			if uid, gid, ok := o.Of(p, ""); uid != 5 || gid != 42 || !ok {
				t.Errorf("by descriptor: %d:%d %v", uid, gid, ok)
			}
			must(t, o.Set(fd, "h", 0, 0))
			check("g", "0:0 true")
			if keys != nil {
				return // a birth in the same tick of the clock is not told apart
			}
			for range 200 {
				must(t, os.WriteFile(at("x"), nil, 0o644))
				check("x", "0:0 false")
				must(t, o.Set(fd, "x", 9, 9))
				must(t, os.Remove(at("x")))
			}
		})
	}
	if uid, gid, ok := (*Owners)(nil).Of(0, ""); uid != 0 || gid != 0 || ok {
		t.Error("nil knows something")
	}
}

// A scan with recorded owners has the digest of a tree that the disk tells the owners of.
func TestScanWithOwners(t *testing.T) {
	needsRoot(t)
	real, flat := t.TempDir(), t.TempDir()
	o := &Owners{}
	for _, dir := range []string{real, flat} {
		must(t, os.Chmod(dir, 0o755))
		must(t, os.MkdirAll(filepath.Join(dir, "staff"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "shadow"), []byte("x"), 0o640))
		must(t, os.Symlink("shadow", filepath.Join(dir, "link")))
	}
	must(t, os.Chown(filepath.Join(real, "staff"), 0, 50))
	must(t, os.Chown(filepath.Join(real, "shadow"), 0, 42))
	must(t, os.Lchown(filepath.Join(real, "link"), 7, 7))
	fd, err := unix.Open(flat, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, o.Set(fd, "staff", 0, 50))
	must(t, o.Set(fd, "shadow", 0, 42))
	must(t, o.Set(fd, "link", 7, 7))
	acl := []byte("\x02\x00\x00\x00" + "\x01\x00\x06\x00\xff\xff\xff\xff" + "\x04\x00\x04\x00\xff\xff\xff\xff" +
		"\x08\x00\x04\x00\x04\x00\x00\x00" + "\x10\x00\x04\x00\xff\xff\xff\xff" + "\x20\x00\x00\x00\xff\xff\xff\xff")
	if err := unix.Setxattr(filepath.Join(real, "shadow"), "system.posix_acl_access", acl, 0); err != unix.ENOTSUP {
		must(t, err)
		must(t, o.SetXattr(fd, "shadow", "system.posix_acl_access", acl))
	}
	must(t, os.Chown(filepath.Join(flat, "staff"), 1234, 1234)) // as the disk of a user with that id has it
	for _, dir := range []string{real, flat} {
		must(t, unix.Chmod(filepath.Join(dir, "staff"), 0o2775))
		// Without an owner of its own it has its directory's group.
		must(t, os.Mkdir(filepath.Join(dir, "staff", "sub"), 0o755))
		must(t, unix.Chmod(filepath.Join(dir, "staff", "sub"), 0o2755))
		must(t, os.WriteFile(filepath.Join(dir, "staff", "sub", "f"), nil, 0o644))
	}
	a, da, _, err := Scan(context.Background(), real, ScanOptions{})
	must(t, err)
	b, db, _, err := Scan(context.Background(), flat, ScanOptions{Owners: o})
	must(t, err)
	if da != db {
		for i := range a.Entries {
			t.Logf("%+v\n%+v", a.Entries[i], b.Entries[i])
		}
		t.Errorf("digests %s and %s", da.Short(), db.Short())
	}
}
