package snapshot

import (
	"fmt"
	"strings"
)

// What a manifest may hold. Paths are bounded by the kernel's PATH_MAX less its NUL.
const (
	maxPath    = 4095
	maxName    = 255
	maxXattr   = 64 << 10
	maxXattrs  = 256
	maxEntries = 4 << 20
	maxSize    = 1 << 53
	maxTime    = 1 << 40
	maxDevice  = 1<<21 - 1 // what seven octal digits hold; Linux has 12 bits of major, 20 of minor
)

// Check reports the first thing that keeps m from being a tree in canonical order: every parent an
// earlier directory, no name twice, every hardlink to an earlier file. A manifest that passes cannot
// lead a writer through a symlink or out of its folder.
func (m *Manifest) Check() error {
	if len(m.Entries) == 0 || m.Entries[0].Path != "." || m.Entries[0].Type != TypeDir {
		return fmt.Errorf("manifest does not begin with the root directory")
	}
	if len(m.Entries) > maxEntries {
		return fmt.Errorf("manifest of %d entries, more than %d", len(m.Entries), maxEntries)
	}
	kinds := make(map[string]byte, len(m.Entries)/4)
	for i := range m.Entries {
		e := &m.Entries[i]
		err := e.check()
		if err == nil && i > 0 {
			err = e.checkPlace(m.Entries[i-1].Path, kinds)
		}
		if err != nil {
			return fmt.Errorf("entry %q: %w", clip(e.Path), err)
		}
		if e.Type == TypeDir || e.Type == TypeFile {
			kinds[e.Path] = e.Type
		}
	}
	return nil
}

func (e *Entry) checkPlace(before string, kinds map[string]byte) error {
	if compare(before, e.Path) >= 0 {
		return fmt.Errorf("not after %q", clip(before))
	}
	if dir := parent(e.Path); kinds[dir] != TypeDir {
		return fmt.Errorf("%q is no directory", clip(dir))
	}
	if e.Type == TypeHardlink && kinds[e.Link] != TypeFile {
		return fmt.Errorf("hardlink to %q, which is no earlier file", clip(e.Link))
	}
	return nil
}

// check looks at one entry alone. Each kind may fill only the fields that its line of text has.
func (e *Entry) check() error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	file := e.Type == TypeFile
	link := e.Type == TypeSymlink || e.Type == TypeHardlink
	device := e.Type == TypeChar || e.Type == TypeBlock
	switch {
	case !file && !link && !device && e.Type != TypeDir && e.Type != TypeFifo:
		return fmt.Errorf("unknown type %q", e.Type)
	case e.Mode > 07777:
		return fmt.Errorf("mode %o", e.Mode)
	case e.MTime < 0 || e.MTime > maxTime:
		return fmt.Errorf("time %d", e.MTime)
	case file != (e.SHA256 != "") || file && !e.SHA256.Valid():
		return fmt.Errorf("digest %q", clip(string(e.SHA256)))
	case e.Size < 0 || e.Size > maxSize || !file && e.Size != 0:
		return fmt.Errorf("size %d", e.Size)
	case link != (e.Link != "") || len(e.Link) > maxPath || strings.IndexByte(e.Link, 0) >= 0:
		return fmt.Errorf("link %q", clip(e.Link))
	case !device && (e.Major != 0 || e.Minor != 0) || e.Major > maxDevice || e.Minor > maxDevice:
		return fmt.Errorf("device %d:%d", e.Major, e.Minor)
	case e.Type == TypeChar && e.Major == 0 && e.Minor == 0:
		return fmt.Errorf("is an overlayfs whiteout (character device 0:0)")
	case len(e.Xattrs) > maxXattrs || e.Type == TypeHardlink && len(e.Xattrs) > 0:
		return fmt.Errorf("%d extended attributes", len(e.Xattrs))
	}
	for name, value := range e.Xattrs {
		if !keepXattr(name) || len(value) > maxXattr || strings.IndexByte(name, 0) >= 0 {
			return fmt.Errorf("extended attribute %q of %d bytes", clip(name), len(value))
		}
	}
	return nil
}

func checkPath(path string) error {
	if path == "." {
		return nil
	}
	if len(path) > maxPath {
		return fmt.Errorf("path of %d bytes, more than %d", len(path), maxPath)
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || len(name) > maxName || strings.IndexByte(name, 0) >= 0 {
			return fmt.Errorf("bad path element %q", clip(name))
		}
	}
	return nil
}

// parent returns the directory that holds path, as an Entry names it.
func parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return "."
}
