package snapshot

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// CompareSizes looks, without reading any file, whether all of m is in tree, of the right types and sizes: what a crash
// takes from files that were not yet written out shows there.
func (m *Manifest) CompareSizes(tree string) error {
	dir, err := unix.Open(tree, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", tree, err)
	}
	defer unix.Close(dir)
	types := map[byte]uint32{TypeFile: unix.S_IFREG, TypeDir: unix.S_IFDIR, TypeSymlink: unix.S_IFLNK, TypeFifo: unix.S_IFIFO}
	for i := range m.Entries {
		e := &m.Entries[i]
		want, onDisk := types[e.Type]
		if !onDisk && e.Type != TypeHardlink {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dir, e.Path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return &DamagedError{Reason: fmt.Sprintf("%s: %v", e.Path, err)}
		}
		if onDisk && st.Mode&unix.S_IFMT != want || e.Type == TypeFile && st.Size != e.Size {
			return &DamagedError{Reason: fmt.Sprintf("%s has %d bytes, and should have %d", e.Path, st.Size, e.Size)}
		}
	}
	return nil
}
