package intake

import "bytes"

// Compression tells by the first six bytes of a file how it is compressed: "zst", "gz", "xz", "bz2", or "" for plain.
func Compression(head []byte) string {
	for _, m := range []struct{ kind, magic string }{
		{"zst", "\x28\xb5\x2f\xfd"}, {"gz", "\x1f\x8b"}, {"xz", "\xfd7zXZ\x00"}, {"bz2", "BZh"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.kind
		}
	}
	// zstd's frames to skip, which some writers begin with
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte("\x2a\x4d\x18")) {
		return "zst"
	}
	return ""
}
