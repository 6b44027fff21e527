package snapshot

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// The text of a manifest:
//
//	rootctl-mtree 1 DIGEST|- TARSIZE ENTRIES
//	TYPE MODE UID GID MTIME PATH [SIZE SHA256 | LINK | MAJOR:MINOR] [XATTR=BASE64]...
//	sha256 DIGEST OF ALL THE LINES ABOVE
//
// One line an entry, one space between fields; in names all but printable ASCII, and the backslash,
// as \ooo. There is exactly one text for a manifest.
const magic = "rootctl-mtree 1"

// Encode writes m as text. It refuses what ReadManifest would not read.
func (m *Manifest) Encode(w io.Writer) error {
	if err := m.Check(); err != nil {
		return err
	}
	h := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 64<<10)
	var line []byte
	line = m.appendHead(line)
	for i := range m.Entries {
		if _, err := out.Write(line); err != nil {
			return err
		}
		line = m.Entries[i].appendLine(line[:0])
	}
	if _, err := out.Write(line); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "sha256 %x\n", h.Sum(nil))
	return err
}

func (m *Manifest) appendHead(b []byte) []byte {
	digest := m.Digest
	if digest == "" {
		digest = "-"
	}
	return fmt.Appendf(b, "%s %s %d %d\n", magic, digest, m.TarSize, len(m.Entries))
}

func (e *Entry) appendLine(b []byte) []byte {
	b = fmt.Appendf(b, "%c %04o %d %d %d ", e.Type, e.Mode, e.UID, e.GID, e.MTime)
	b = appendEscaped(b, e.Path)
	switch e.Type {
	case TypeFile:
		b = append(b, ' ')
		b = strconv.AppendInt(b, e.Size, 10)
		b = append(b, ' ')
		b = append(b, e.SHA256...)
	case TypeSymlink, TypeHardlink:
		b = append(b, ' ')
		b = appendEscaped(b, e.Link)
	case TypeChar, TypeBlock:
		b = fmt.Appendf(b, " %d:%d", e.Major, e.Minor)
	}
	if len(e.Xattrs) > 0 {
		for _, name := range slices.Sorted(maps.Keys(e.Xattrs)) {
			b = append(b, ' ')
			b = appendEscaped(b, name)
			b = append(b, '=')
			b = base64.StdEncoding.AppendEncode(b, []byte(e.Xattrs[name]))
		}
	}
	return append(b, '\n')
}

// plain reports whether a byte stands for itself in a name. "=" ends an attribute's name, so it does not.
func plain(c byte) bool { return c > ' ' && c < 0x7f && c != '\\' && c != '=' }

func appendEscaped(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		}
	}
	return b
}
