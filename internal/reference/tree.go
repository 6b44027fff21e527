package reference

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Node is one file of a tree, with all that is compared.
type Node struct {
	Type         byte   // f d l c b p s
	Mode         uint32 // 07777, 0 for links
	UID, GID     uint32
	Link         string // target of a symbolic link
	SHA256       string // of a regular file, in hex
	Xattrs       map[string]string
	Major, Minor uint32
	Normal       string // digest of the content with what is known to differ masked; "" where nothing is
	Hard         string // the other names of a regular file, sorted, separated by spaces
	Empty        bool   // a regular file of no bytes
}

// Tree is a root filesystem by path, without a leading slash; the top itself is ".".
type Tree map[string]Node

// noXattrs are attributes of the file system that holds a tree, not of the tree.
var noXattrs = []string{"trusted.overlay.", "security.selinux", "system.nfs4_acl"}

// ScanTree reads a tree from the disk as it is: the reference roots, made by other tools as root.
func ScanTree(root string) (Tree, error) {
	t := Tree{}
	links := map[[2]uint64][]string{}
	var g errgroup.Group
	g.SetLimit(4)
	var mu sync.Mutex
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return fmt.Errorf("stat %s: %w", p, err)
		}
		n, err := readNode(p, &st)
		if err != nil {
			return err
		}
		mu.Lock()
		t[rel] = n
		mu.Unlock()
		if n.Type != 'f' {
			return nil
		}
		if st.Nlink > 1 {
			key := [2]uint64{uint64(st.Dev), st.Ino}
			links[key] = append(links[key], rel)
		}
		g.Go(func() error {
			sum, err := digest(p)
			if err != nil {
				return err
			}
			normal, err := normalDigest(p, rel)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			n := t[rel]
			n.SHA256, n.Normal = sum, normal
			t[rel] = n
			return nil
		})
		return nil
	})
	if werr := g.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", root, err)
	}
	for _, set := range links {
		slices.Sort(set)
		for _, p := range set {
			n := t[p]
			n.Hard = strings.Join(set, " ")
			t[p] = n
		}
	}
	return t, nil
}

func readNode(p string, st *unix.Stat_t) (Node, error) {
	n := Node{Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.Type, n.Empty = 'f', st.Size == 0
	case unix.S_IFDIR:
		n.Type = 'd'
	case unix.S_IFLNK:
		n.Type, n.Mode = 'l', 0
		target, err := os.Readlink(p)
		if err != nil {
			return n, err
		}
		n.Link = target
	case unix.S_IFCHR:
		n.Type = 'c'
	case unix.S_IFBLK:
		n.Type = 'b'
	case unix.S_IFIFO:
		n.Type = 'p'
	case unix.S_IFSOCK:
		n.Type = 's'
	}
	if n.Type == 'c' || n.Type == 'b' {
		n.Major, n.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)) //nolint:unconvert // differs by architecture
	}
	var err error
	n.Xattrs, err = xattrs(p)
	return n, err
}

func xattrs(p string) (map[string]string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, names)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list xattrs of %s: %w", p, err)
	}
	all := map[string]string{}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" || slices.ContainsFunc(noXattrs, func(x string) bool { return strings.HasPrefix(name, x) }) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			return nil, fmt.Errorf("read xattr %s of %s: %w", name, p, err)
		}
		all[name] = string(value[:n])
	}
	if len(all) == 0 {
		return nil, nil
	}
	return all, nil
}

func digest(p string) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// normalDigest is the digest of a file's content without what is known to differ, "" for most files. In
// shadow files the day of the last change is masked: ours is the epoch's, theirs is today. insserv's
// dependencies have their words and lines sorted: insserv writes equals in the order of the directory.
// All else in them has to be the same.
func normalDigest(p, rel string) (string, error) {
	var normal func(string) string
	switch rel {
	case "etc/shadow", "etc/shadow-":
		normal = maskDays
	case "etc/init.d/.depend.boot", "etc/init.d/.depend.start", "etc/init.d/.depend.stop":
		normal = sortWords
	default:
		return "", nil
	}
	text, err := os.ReadFile(p)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(normal(string(text))))
	return hex.EncodeToString(sum[:]), nil
}

func maskDays(shadow string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(shadow, "\n") {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] != "" {
			f[2] = "DAY"
			line = strings.Join(f, ":")
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

func sortWords(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		words := strings.Fields(line)
		slices.Sort(words)
		lines[i] = strings.Join(words, " ")
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Difference is one way in which the root under test differs from a reference.
type Difference struct {
	Path, Kind string // Kind is one of Kinds
	Ours       string // "" when it is not there
	Theirs     string
}

// Kinds are the kinds of difference, in the order in which they are reported.
var Kinds = []string{"package", "missing", "extra", "type", "mode", "owner", "link", "content", "xattr", "device", "hardlink"}

// CompareTrees returns the differences sorted by path. A file of another type is only that difference.
func CompareTrees(ours, theirs Tree) []Difference {
	var all []Difference
	for p, o := range ours {
		if _, ok := theirs[p]; !ok {
			all = append(all, Difference{p, "extra", o.String(), ""})
		}
	}
	for p, r := range theirs {
		o, ok := ours[p]
		if !ok {
			all = append(all, Difference{p, "missing", "", r.String()})
			continue
		}
		all = append(all, compareNodes(p, o, r)...)
	}
	slices.SortFunc(all, func(a, b Difference) int {
		return strings.Compare(a.Path+"\x00"+a.Kind, b.Path+"\x00"+b.Kind)
	})
	return all
}

func compareNodes(p string, o, r Node) []Difference {
	if o.Type != r.Type {
		return []Difference{{p, "type", o.String(), r.String()}}
	}
	var all []Difference
	add := func(kind, ours, theirs string) {
		if ours != theirs {
			all = append(all, Difference{p, kind, ours, theirs})
		}
	}
	add("mode", fmt.Sprintf("%04o", o.Mode), fmt.Sprintf("%04o", r.Mode))
	add("owner", fmt.Sprintf("%d:%d", o.UID, o.GID), fmt.Sprintf("%d:%d", r.UID, r.GID))
	add("link", o.Link, r.Link)
	if o.Normal == "" || o.Normal != r.Normal {
		add("content", o.SHA256, r.SHA256)
	}
	add("xattr", xattrText(o.Xattrs), xattrText(r.Xattrs))
	add("device", fmt.Sprintf("%d:%d", o.Major, o.Minor), fmt.Sprintf("%d:%d", r.Major, r.Minor))
	add("hardlink", o.Hard, r.Hard)
	return all
}

func xattrText(m map[string]string) string {
	var all []string
	for k, v := range m {
		all = append(all, fmt.Sprintf("%s=%x", k, v))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// String is the node in a few words: "file 0644 0:0".
func (n Node) String() string {
	kind := map[byte]string{'f': "file", 'd': "dir", 'l': "link", 'c': "char", 'b': "block", 'p': "fifo", 's': "socket"}[n.Type]
	switch n.Type {
	case 'l':
		return kind + " -> " + n.Link
	case 'c', 'b':
		return fmt.Sprintf("%s %04o %d:%d %d,%d", kind, n.Mode, n.UID, n.GID, n.Major, n.Minor)
	}
	return fmt.Sprintf("%s %04o %d:%d", kind, n.Mode, n.UID, n.GID)
}
