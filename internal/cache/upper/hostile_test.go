package upper_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/intake"
	"github.com/rootctl/rootctl/internal/cache/snapshot"
	"github.com/rootctl/rootctl/internal/cache/upper"
)

func unixTime(sec int64) time.Time { return time.Unix(sec, 0) }

// crafted is an upper directory made by hand over a root that has /d with a, b, c.
func crafted(t *testing.T) *upper.Copy {
	t.Helper()
	needsRoot(t)
	m := &snapshot.Manifest{}
	for _, p := range []string{".", "d", "d/a", "d/b", "d/c"} {
		e := snapshot.Entry{Path: p, Type: snapshot.TypeDir, Mode: 0o755}
		if strings.HasPrefix(p, "d/") {
			e.Type, e.Mode, e.SHA256 = snapshot.TypeFile, 0o644, snapshot.Sum(nil)
		}
		m.Entries = append(m.Entries, e)
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
	return &upper.Copy{Dir: dir, Parent: m}
}

func put0(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, nil, 0o644))
}

// TestMarks reads what kernels have as marks: devices 0:0 and, since 6.7, attributes, which mean something only in a
// directory that says so.
func TestMarks(t *testing.T) {
	for _, x := range []struct {
		summary, prefix string
		user            bool
		opaque          string
		want            []upper.Change
	}{
		{"attributes of root", "trusted.overlay.", false, "x", []upper.Change{{Kind: 'C', Path: "/d"}, {Kind: 'D', Path: "/d/a"}, {Kind: 'D', Path: "/d/b"}}},
		{"attributes of a user", "user.overlay.", true, "x", []upper.Change{{Kind: 'C', Path: "/d"}, {Kind: 'D', Path: "/d/a"}, {Kind: 'D', Path: "/d/b"}}},
		{"a directory that does not say so", "trusted.overlay.", false, "", []upper.Change{{Kind: 'C', Path: "/d"}, {Kind: 'C', Path: "/d/a"}, {Kind: 'D', Path: "/d/b"}}},
		{"opaque", "trusted.overlay.", false, "y", []upper.Change{{Kind: 'C', Path: "/d"}, {Kind: 'C', Path: "/d/a"}, {Kind: 'D', Path: "/d/c"}}},
		{"a user's mark where root's count", "user.overlay.", false, "y", []upper.Change{{Kind: 'C', Path: "/d"}, {Kind: 'C', Path: "/d/a"}, {Kind: 'D', Path: "/d/b"}}},
	} {
		c := crafted(t)
		c.UserMarks = x.user
		a, b, d := filepath.Join(c.Dir, "d/a"), filepath.Join(c.Dir, "d/b"), filepath.Join(c.Dir, "d")
		put0(t, a)
		must(t, unix.Setxattr(a, x.prefix+"whiteout", []byte("y"), 0))
		must(t, unix.Mknod(b, unix.S_IFCHR, 0))
		if x.opaque != "" {
			must(t, unix.Setxattr(d, x.prefix+"opaque", []byte(x.opaque), 0))
		}
		if diff := cmp.Diff(x.want, read(t, c).List()); diff != "" {
			t.Errorf("%s: %s", x.summary, diff)
		}
	}
}

// TestForeign refuses what the runner's overlays never write.
func TestForeign(t *testing.T) {
	for _, x := range []struct {
		summary, want string
		make          func(c *upper.Copy, file string) error
	}{
		{"metacopy", "metacopy", func(_ *upper.Copy, f string) error { return unix.Setxattr(f, "trusted.overlay.metacopy", nil, 0) }},
		{"redirect", "redirect", func(c *upper.Copy, _ string) error {
			return unix.Setxattr(filepath.Join(c.Dir, "d"), "trusted.overlay.redirect", []byte("/etc"), 0)
		}},
		{"owner", "no ids of the container", func(c *upper.Copy, f string) error { c.Base, c.Size = 1<<20, 65536; return nil }},
		{"depth", "more than 256 parts", func(c *upper.Copy, _ string) error {
			return os.MkdirAll(c.Dir+strings.Repeat("/x", 300), 0o755)
		}},
	} {
		c := crafted(t)
		f := filepath.Join(c.Dir, "d/a")
		put0(t, f)
		must(t, x.make(c, f))
		_, err := upper.Read(context.Background(), c)
		var hint interface{ Hint() string }
		if err == nil || !strings.Contains(err.Error(), x.want) || !errors.As(err, &hint) {
			t.Errorf("%s: %v", x.summary, err)
		}
	}
}

// TestForeignCapability drops a capability that holds in another user namespace than the container's.
func TestForeignCapability(t *testing.T) {
	c := crafted(t)
	c.Base, c.Size = 1<<20, 65536
	for _, n := range []string{"", "d", "d/a", "d/b"} {
		p := filepath.Join(c.Dir, n)
		if strings.HasPrefix(n, "d/") {
			put0(t, p)
		}
		must(t, os.Chown(p, 1<<20, 1<<20))
	}
	for n, root := range map[string]uint32{"d/a": 1 << 20, "d/b": 1<<20 + 7} {
		v := make([]byte, 24)
		binary.LittleEndian.PutUint32(v, 3<<24|1)
		binary.LittleEndian.PutUint32(v[4:], 1<<10)
		binary.LittleEndian.PutUint32(v[20:], root)
		must(t, unix.Setxattr(filepath.Join(c.Dir, n), "security.capability", v, 0))
	}
	tree := t.TempDir()
	must(t, os.Mkdir(filepath.Join(tree, "d"), 0o755))
	for _, n := range []string{"a", "b", "c"} {
		put0(t, filepath.Join(tree, "d", n))
	}
	w := made(t, func(u *intake.Unpacker) error { return read(t, c).Merge(context.Background(), u, tree) }).manifest
	if a, b := entryOf(w, "d/a"), entryOf(w, "d/b"); len(a.Xattrs["security.capability"]) != 20 || len(b.Xattrs) != 0 {
		t.Errorf("a %q, b %q", a.Xattrs, b.Xattrs)
	}
}
