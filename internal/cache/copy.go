package cache

import (
	"context"
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/rootctl/rootctl/internal/cache/snapshot"
)

// CopyTo makes the leased root's tree in an empty folder, to be changed there: contents, owners, modes, times and
// attributes as the manifest has them. With owners, which is for a disk that cannot take them, they are recorded instead. Device nodes and
// fifos are not made; they are returned.
func (l *Lease) CopyTo(ctx context.Context, dst string, owners *Owners) (nodes []Entry, err error) {
	m, err := l.Manifest()
	if err != nil {
		return nil, err
	}
	plain := *m
	plain.Entries = nil
	left := map[string]bool{}
	for _, e := range m.Entries {
		switch {
		case e.Type == TypeChar, e.Type == TypeBlock, e.Type == TypeFifo:
			nodes, left[e.Path] = append(nodes, e), true
		case e.Type == snapshot.TypeHardlink && left[e.Link]:
		default:
			plain.Entries = append(plain.Entries, e)
		}
	}
	if _, err := plain.Place(ctx, l.Tree, dst, snapshot.PlaceOptions{NoDevices: true, NoOwners: owners != nil}); err != nil {
		return nil, err
	}
	if owners == nil {
		return nodes, nil
	}
	top, err := unix.Open(dst, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("record owners: %w", err)
	}
	defer unix.Close(top)
	for i := range plain.Entries {
		if err := recordOwner(top, &plain.Entries[i], owners); err != nil {
			return nil, fmt.Errorf("record owner of %s: %w", plain.Entries[i].Path, err)
		}
	}
	return nodes, nil
}

func recordOwner(top int, e *Entry, owners *Owners) error {
	capability, capable := e.Xattrs["security.capability"]
	if e.Type == snapshot.TypeHardlink || e.UID == 0 && e.GID == 0 && !capable {
		return nil
	}
	dir, name := path.Split(e.Path)
	if dir == "" {
		dir = "."
	}
	parent, err := unix.Openat2(top, dir, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS})
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	if err := owners.Set(parent, name, e.UID, e.GID); err != nil || !capable {
		return err
	}
	return owners.SetXattr(parent, name, "security.capability", []byte(capability))
}
