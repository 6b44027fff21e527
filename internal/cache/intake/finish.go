package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// Finish gives directories their owners, modes and times and returns the manifest of the whole, its digest in it. tree is
// the folder's path: contents are read again if they came in another order than the canonical one.
func (u *Unpacker) Finish(ctx context.Context, tree string) (*snapshot.Manifest, error) {
	if err := u.writers.wait(); err != nil {
		return nil, err
	}
	if len(u.root.children) == 0 {
		return nil, &FormatError{What: "it holds no files", Next: "give the archive of a root: tar -C ROOT -c ."}
	}
	m := &snapshot.Manifest{Entries: make([]snapshot.Entry, 0, u.entries+1)}
	if err := u.list(m, u.root, ".", map[*content]string{}); err != nil {
		return nil, err
	}
	if err := m.Check(); err != nil {
		return nil, fmt.Errorf("import: %w", err) // cannot come about
	}
	if u.ordered && !u.spoiled.Load() {
		d, n, err := u.canon.end()
		m.Digest, m.TarSize = d, n
		return m, err
	}
	w := &counter{h: sha256.New()}
	if err := m.WriteTar(ctx, w, tree); err != nil {
		return nil, fmt.Errorf("hash the root: %w", err)
	}
	m.Digest, m.TarSize = snapshot.Digest(hex.EncodeToString(w.h.Sum(nil))), w.n
	return m, nil
}

type counter struct {
	h hash.Hash
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return c.h.Write(b)
}

// list adds n and all below it in canonical order. firsts holds the first name of every file.
func (u *Unpacker) list(m *snapshot.Manifest, n *node, path string, firsts map[*content]string) error {
	at := len(m.Entries)
	e := n.meta
	if c := n.content; c != nil {
		path := e.Path
		e = c.meta
		e.Path, e.SHA256 = path, c.sum
		if first, ok := firsts[c]; ok {
			e.Type, e.Link, e.Size, e.SHA256, e.Xattrs = snapshot.TypeHardlink, first, 0, "", nil
		} else {
			firsts[c] = path
		}
	}
	m.Entries = append(m.Entries, e)
	if !n.isDir() {
		return nil
	}
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		if err := u.list(m, n.children[base], join(path, base), firsts); err != nil {
			return err
		}
	}
	fd, err := openBeneath(u.fd, path, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return &MemberError{path, err}
	}
	defer unix.Close(fd)
	if err := u.finish(fd, fd, ".", &m.Entries[at]); err != nil {
		return &MemberError{path, err}
	}
	return nil
}
